"""Write files whole or not at all: under a temporary name in the same folder, renamed when complete.

>>> write_text(Path("scores.csv"), "case,dice\\n")                  # doctest: +SKIP
>>> with whole_file(Path("model.pt")) as temporary:                # doctest: +SKIP
...     torch.save(state, temporary)
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from oarseg.errors import ConfigError, InputError, OarsegError, OutputError

# Temporary names: hidden, and with this end of the final name, by which libraries choose a file's format.
PREFIX, END = ".partial-", 16
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


@contextlib.contextmanager
def whole_file(path: str | Path, *, durable: bool = False, mode: int = 0o666) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it to ``path`` when the block ends without an error.

    Args:
        path: the file to write; missing parent folders are made, an existing file is replaced.
        durable: flush file and folder to the disk, so that the new content survives a power failure.
        mode: permissions before the umask; 0o600 for a file that its owner alone may read.
    Raises OutputError where the operating system refuses. Then ``path`` is as before and the temporary file is gone.
    """
    path = Path(path)
    temporary = path.parent / f"{PREFIX}{secrets.token_hex(6)}-{path.name[-END:]}"
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            # Made here, so that the permissions are those of a new file whatever the block opens it with.
            os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode))
            yield temporary
            if durable:
                flush(temporary)
            os.replace(temporary, path)
            if durable:
                flush(path.parent)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str, *, durable: bool = False, mode: int = 0o666) -> None:
    """Write ``text`` in UTF-8, line ends as they are; see :func:`whole_file`."""
    write_bytes(path, text.encode("utf-8"), durable=durable, mode=mode)


def write_bytes(path: str | Path, content: bytes, *, durable: bool = False, mode: int = 0o666) -> None:
    """Write ``content``; see :func:`whole_file`."""
    with whole_file(path, durable=durable, mode=mode) as temporary:
        temporary.write_bytes(content)


def write_json(
    path: str | Path, content: object, indent: int | None = 1, *, durable: bool = False, mode: int = 0o666
) -> None:
    """Write ``content`` as JSON with a final line end; see :func:`whole_file`."""
    write_text(path, json.dumps(content, indent=indent) + "\n", durable=durable, mode=mode)


@contextlib.contextmanager
def writing(place: str | Path) -> Iterator[None]:
    """Turn an OSError of the block into an OutputError that names ``place`` and the reason."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise OutputError(f"{place}: no space left on the device; free some or give another folder") from error
        reason = error.strerror or type(error).__name__
        raise OutputError(f"{place} cannot be written ({reason}); give a folder that you may write to") from error


@contextlib.contextmanager
def reading_json(path: Path, what: str, advice: str) -> Iterator[None]:
    """Turn errors of a block that reads and takes apart a JSON file into one line that names the file.

    Args: ``what`` the file should be, such as "datalist". ``advice``: what to do.
    Raises InputError where the file cannot be read, ConfigError where it is malformed.
    """
    try:
        yield
    except OSError as error:
        raise InputError(f"no {what} at {path} ({error.strerror}); {advice}") from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ConfigError(f"{path} is no JSON {what} ({type(error).__name__}: {error}); {advice}") from error


@contextlib.contextmanager
def reading_file(path: Path, kind: str, quote: bool = True) -> Iterator[None]:
    """Turn whatever a library raises on a damaged file into an InputError that names file and ``kind``.

    ``quote``: with the library's own words; False where they may hold what names a patient.
    """
    try:
        yield
    except OarsegError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; expected {kind}") from error
    except MemoryError as error:
        raise InputError(f"{path.name} does not fit into memory; crop it to the region of the organs") from error
    except Exception as error:  # noqa: BLE001 - the file libraries raise nearly anything on damaged files
        words = " ".join(str(error).replace(str(path), path.name).split())[:160]
        said = f"{type(error).__name__}: {words}" if quote else type(error).__name__
        # What the operating system says has nothing to do with the content.
        said = getattr(error, "strerror", None) or said
        raise InputError(f"{path.name} cannot be read as {kind} ({said}); is it cut short? Copy it again") from error


def unreadable_folder(error: OSError) -> NoReturn:
    """Raise InputError for a folder that ``os.walk`` cannot read, as its ``onerror``."""
    raise InputError(f"folder {error.filename} cannot be read ({error.strerror}); check its permissions") from error


def flush(path: Path) -> None:
    """Wait until a file's content, or a folder's list of names, is on the disk."""
    if path.is_dir() and os.name == "nt":  # Windows opens no folders
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
