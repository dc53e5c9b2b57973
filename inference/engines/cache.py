"""Compiled networks, kept in the user's cache folder. Without it everything works too, only slower at the start."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import tempfile
import time
from pathlib import Path

DIGEST_BYTES = 32
SUFFIX = ".blob"
# Two versions of nine networks in three precisions, generously.
KEPT = 64


def cache_folder() -> Path | None:
    """Where the platform keeps what can be computed again, a folder ``oarseg`` in it; it need not exist.

    None for users without a home, such as those that containers run as any number.
    """
    try:
        return _root() / "oarseg"
    except RuntimeError:
        return None


def _root() -> Path:
    """The folder of all programs. Raises RuntimeError where it lies in a home that the user has not."""
    system = platform.system()
    if system == "Windows":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if system == "Darwin":
        return Path.home() / "Library" / "Caches"
    # The standard (XDG Base Directory) has relative paths ignored.
    asked = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return asked if asked.is_absolute() else Path.home() / ".cache"


class BlobCache:
    """Bytes by key, one file each, in ``folder``; safe with many processes at once and with damaged files.

    A file is its content's SHA-256 and then the content. It is written under another name and renamed when whole, so
    that readers see all of it or nothing. What does not fit its checksum is removed. Where the folder cannot be written
    or is None nothing is kept, and nothing is said. Of more than ``kept`` files, those that were not used for longest
    go.

    What lies here is run. The checksum is against damage; against others it is that the folder belongs to the user and
    nobody else may write to it. Where that is not so, nothing is read or kept.
    """

    def __init__(self, folder: Path | None, kept: int = KEPT) -> None:
        self.folder, self.kept = folder, kept

    def load(self, *key: str) -> bytes | None:
        """What was stored under ``key``, or None."""
        try:
            path = self._path(key)
            if not self._trusted():
                return None
            content = path.read_bytes()
        except OSError:
            return None
        blob = content[DIGEST_BYTES:]
        if hashlib.sha256(blob).digest() != content[:DIGEST_BYTES]:
            self.drop(*key)
            return None
        with contextlib.suppress(OSError):
            os.utime(path)
        return blob

    def store(self, blob: bytes, *key: str) -> None:
        """Keep ``blob`` under ``key``."""
        with contextlib.suppress(OSError):
            path = self._path(key)
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not self._trusted():
                return
            handle, partial = tempfile.mkstemp(dir=self.folder, prefix=".partial-")
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(hashlib.sha256(blob).digest() + blob)
                os.replace(partial, path)
            except BaseException:
                os.unlink(partial)
                raise
            self._prune()

    def drop(self, *key: str) -> None:
        """Forget what was stored under ``key``."""
        with contextlib.suppress(OSError):
            self._path(key).unlink()

    def _trusted(self) -> bool:
        """Whether nobody else can put files into the folder. Raises OSError where there is none."""
        if os.name != "posix":
            return True
        state = self.folder.stat()
        return state.st_uid == os.getuid() and not state.st_mode & 0o022

    def _path(self, key: tuple[str, ...]) -> Path:
        if self.folder is None:
            raise FileNotFoundError("no folder for the cache")
        return self.folder / (hashlib.sha256("\n".join(key).encode()).hexdigest() + SUFFIX)

    def _prune(self) -> None:
        """Remove the files used longest ago, and what interrupted processes left more than a day ago."""
        used = {}
        for path in self.folder.iterdir():
            with contextlib.suppress(OSError):
                used[path] = path.stat().st_mtime
        blobs = sorted((p for p in used if p.suffix == SUFFIX), key=used.__getitem__, reverse=True)
        left = [p for p in used if p.name.startswith(".partial-") and used[p] < time.time() - 86400]
        for path in blobs[self.kept :] + left:
            with contextlib.suppress(OSError):
                path.unlink()
