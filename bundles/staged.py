"""Files and folders that appear under their names whole, or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from oarseg.files import writing


@contextlib.contextmanager
def staging(folder: Path) -> Iterator[Path]:
    """Yield a folder inside ``folder`` to work in, gone at the end. ``folder`` is made; left empty, it goes too.

    Raises OutputError where something cannot be written.
    """
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".unfinished-", dir=folder) as temporary:
                yield Path(temporary)
    finally:
        for place in made:
            with contextlib.suppress(OSError):
                place.rmdir()


def put(source: Path, target: Path, work: Path) -> None:
    """Move ``source`` to ``target``; what is there goes into the folder ``work``, and comes back if that fails."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists() and not target.is_symlink():
        os.replace(source, target)
        return
    old = Path(tempfile.mkdtemp(prefix="old-", dir=work)) / target.name
    os.replace(target, old)
    try:
        os.replace(source, target)
    except OSError:
        os.replace(old, target)
        raise


def same(one: Path, other: Path) -> bool:
    """Whether two files, or two folders with all that is in them, are the same."""
    if one.is_file() and other.is_file():
        return one.stat().st_size == other.stat().st_size and one.read_bytes() == other.read_bytes()
    if not (one.is_dir() and other.is_dir()):
        return False
    names = sorted(path.name for path in one.iterdir())
    return names == sorted(path.name for path in other.iterdir()) and all(
        same(one / name, other / name) for name in names
    )
