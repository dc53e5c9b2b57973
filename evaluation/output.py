"""Several result files of one run, written beside their place and moved there when all are whole."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from oarseg.errors import OutputError
from oarseg.files import writing


def check_place(folder: Path, names: Sequence[str], overwrite: bool) -> None:
    """Before the work: OutputError where ``folder`` is a file or, unless ``overwrite``, holds one of ``names``."""
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} is not a folder; give another place for the results")
    held = [name for name in names if (folder / name).exists()]
    if held and not overwrite:
        raise OutputError(f"{folder} holds {held[0]} already; give another folder, or --overwrite to replace it")


@contextmanager
def staged(folder: Path, names: Sequence[str]) -> Iterator[Path]:
    """A hidden folder within ``folder`` to write files ``names`` to; they are moved when the block ends well.

    An earlier file of one of the names goes, even where this run did not write it: it belongs to other scores.
    Raises OutputError where the place cannot be written.
    """
    made = not folder.exists()
    try:
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".oarseg-", dir=folder) as staging:
                yield Path(staging)
                for name in names:
                    if (Path(staging) / name).exists():
                        os.replace(Path(staging) / name, folder / name)
                    elif (folder / name).exists():
                        os.unlink(folder / name)
    except BaseException:
        if made:
            # Only if it is empty.
            with suppress(OSError):
                folder.rmdir()
        raise
