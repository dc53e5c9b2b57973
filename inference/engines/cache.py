"""Compiled networks, kept in the user's cache folder. Without the folder, only the start is slower."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from pathlib import Path

from platformdirs import user_cache_path

from oarseg.errors import OutputError
from oarseg.files import PREFIX, write_bytes

DIGEST_BYTES = 32
SUFFIX = ".blob"
# Two versions of nine networks in three precisions, generously.
KEPT = 64


def cache_folder() -> Path | None:
    """Return the platform's folder for what oarseg can compute again; it need not exist.

    None for users without a home, such as those that containers run as any number.
    """
    try:
        folder = user_cache_path("oarseg", appauthor=False)
    except RuntimeError:
        return None
    # Earlier versions of platformdirs give "~/.cache" where there is no home, and take relative paths from variables.
    return folder if folder.is_absolute() else None


class BlobCache:
    """Bytes by key, one file each, in ``folder``; safe with many processes at once and with damaged files.

    A file holds its content's SHA-256 and then the content. It is written under another name and renamed when whole, so
    that readers see all of it or nothing. A file that does not fit its checksum is removed. If the folder cannot be
    written or is None, nothing is kept, without a message. Of more than ``kept`` files, the least recently used are
    removed.

    OpenVINO runs what lies here. The checksum protects against damage. Against other users it helps that the folder
    must belong to the user and that nobody else may write to it; otherwise nothing is read or kept.
    """

    def __init__(self, folder: Path | None, kept: int = KEPT) -> None:
        self.folder, self.kept = folder, kept

    def load(self, *key: str) -> bytes | None:
        """Return what was stored under ``key``, or None."""
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
        with contextlib.suppress(OSError, OutputError):
            path = self._path(key)
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not self._trusted():
                return
            write_bytes(path, hashlib.sha256(blob).digest() + blob, mode=0o600)
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
        left = [p for p in used if p.name.startswith(PREFIX) and used[p] < time.time() - 86400]
        for path in blobs[self.kept :] + left:
            with contextlib.suppress(OSError):
                path.unlink()
