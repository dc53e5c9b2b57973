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
import tempfile
from collections.abc import Iterator
from pathlib import Path

from oarseg.errors import OutputError

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


@contextlib.contextmanager
def whole_file(path: str | Path, *, durable: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it to ``path`` when the block ends without an error.

    Args:
        path: the file to write; missing parent folders are made, an existing file is replaced.
        durable: flush the file to the disk before the rename, so that it survives a power failure.
    Raises OutputError where the operating system refuses. Then ``path`` is as before and the temporary file is gone.
    """
    path = Path(path)
    temporary: Path | None = None
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix=f".{path.name[:80]}.", suffix=".part", dir=path.parent)
            os.close(handle)
            temporary = Path(name)
            yield temporary
            if durable:
                _flush(temporary)
            # mkstemp lets the owner alone read it; a result has the permissions of any new file.
            temporary.chmod(0o666 & ~_umask())
            os.replace(temporary, path)
            temporary = None
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink()


def write_text(path: str | Path, text: str) -> None:
    """Write ``text`` in UTF-8, line ends as they are; see :func:`whole_file`."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write ``content``; see :func:`whole_file`."""
    with whole_file(path) as temporary:
        temporary.write_bytes(content)


def write_json(path: str | Path, content: object, indent: int | None = 1) -> None:
    """Write ``content`` as JSON with a final line end; see :func:`whole_file`."""
    write_text(path, json.dumps(content, indent=indent) + "\n")


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


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
