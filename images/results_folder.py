"""A folder that holds either all results of a run or what it held before.

>>> with ResultFolder("out", overwrite=False) as results:          # doctest: +SKIP
...     (results.staging / "report.json").write_text("{}")
...     results.publish()
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from oarseg.errors import OutputError
from oarseg.files import writing
from oarseg.text import listed

SEGMENTATION = "segmentation.nii.gz"
RTSTRUCT = "rtstruct.dcm"
SEG = "segmentation.dcm"
REPORT = "report.json"
PREVIEW = "preview.png"
PAGE = "report.html"
NAMES = (SEGMENTATION, RTSTRUCT, SEG, REPORT, PREVIEW, PAGE)
# The four files of a large CT take a few MiB; with less room than this the run would end in an error.
LEAST_FREE_BYTES = 32 << 20


class ResultFolder:
    """The place for the results, claimed before the work and filled after it.

    Files are written to ``staging``, a hidden folder on the same file system, and moved by ``publish``. Leaving the
    context without it, for whatever reason, removes the staging folder and every folder that was made, and changes
    nothing else. With ``overwrite``, earlier files of the names ``NAMES`` are replaced as a set (one that this run did
    not write goes, as it would belong to another image); other files are never touched.

    Args:
        folder: the place.
        overwrite: replace earlier files of the names ``names``.
        names: of all files that a run may write.
        alone: refuse a folder that holds anything without ``overwrite``; False refuses only one that holds ``names``.
    """

    def __init__(
        self, folder: str | Path, overwrite: bool = False, names: Sequence[str] = NAMES, alone: bool = True
    ) -> None:
        self.folder, self.overwrite, self.names, self.alone = Path(folder), overwrite, names, alone
        self.staging = self.folder
        self._made: list[Path] = []

    def __enter__(self) -> ResultFolder:
        """Claim the place. Raises OutputError if it is taken, no folder, not writable or full."""
        self.check_taken()
        with writing(self.folder):
            try:
                # Within the folder where there is one: its parent may be another file system or not writable (a mount).
                around = self.folder if self.folder.is_dir() else self._make_parents()
                if shutil.disk_usage(around).free < LEAST_FREE_BYTES:
                    raise OSError(errno.ENOSPC, "No space left on device")
                self.staging = Path(tempfile.mkdtemp(prefix=".oarseg-", dir=around))
            except BaseException:
                self._unmake()
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.staging != self.folder:
            shutil.rmtree(self.staging, ignore_errors=True)
        self._unmake()

    def publish(self) -> None:
        """Move the staged files to their place. Raises OutputError, with the earlier files back in place."""
        with writing(self.folder):
            if not self.folder.exists():
                # mkdtemp gives the owner alone access; a result has the permissions of any new folder.
                self.folder.mkdir()
                self._made.append(self.folder)
            self._exchange()
        self._made.clear()

    def _exchange(self) -> None:
        earlier = self.staging / ".earlier"
        earlier.mkdir()
        staged = [name for name in self.names if (self.staging / name).exists()]
        kept, placed = [], []
        try:
            for name in self.names:
                if os.path.lexists(self.folder / name):
                    os.replace(self.folder / name, earlier / name)
                    kept.append(name)
            for name in staged:
                os.replace(self.staging / name, self.folder / name)
                placed.append(name)
        except BaseException:
            for name in placed:
                (self.folder / name).unlink()
            for name in kept:
                os.replace(earlier / name, self.folder / name)
            raise

    def check_taken(self) -> None:
        """Raise OutputError if the place is no folder, or holds what may not be replaced."""
        folder = self.folder
        with writing(folder):
            if os.path.lexists(folder) and not folder.is_dir():
                raise OutputError(f"{folder} is not a folder; give another folder for the results")
            held = sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []
            held = held if self.alone else [name for name in held if name in self.names]
            blocked = [name for name in self.names if (folder / name).is_dir()]
        if held and not self.overwrite:
            raise OutputError(
                f"{folder} is not empty (it holds {listed(held, 3)}); give another folder, or --overwrite to replace "
                "earlier results in it"
            )
        if blocked:
            raise OutputError(f"{folder / blocked[0]} is a folder, but a file of that name is to be written; move it")

    def _make_parents(self) -> Path:
        parent = self.folder.absolute().parent
        for place in reversed([p for p in (parent, *parent.parents) if not p.exists()]):
            place.mkdir()
            self._made.append(place)
        return parent

    def _unmake(self) -> None:
        for place in reversed(self._made):
            with contextlib.suppress(OSError):
                place.rmdir()
        self._made.clear()
