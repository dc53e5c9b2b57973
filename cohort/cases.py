"""Find the CTs of a cohort one after the other, so that work begins before a large tree has been searched.

>>> for case in find_cases("export"):                              # doctest: +SKIP
...     print(case.name, case.source, case.series)
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from oarseg.cohort.journal import OWN_FILES
from oarseg.datasets.datalist import case_name
from oarseg.dicom import scan_folder
from oarseg.dicom.read.header import Header, read_header
from oarseg.dicom.read.scan import MIN_SLICES
from oarseg.errors import ConfigError, InputError, OarsegError
from oarseg.identity import short_hash
from oarseg.images.read import NIFTI, NRRD

# Files beside CTs that are no DICOM.
PASSED_OVER = (".json", ".jsonl", ".csv", ".txt", ".md", ".xml", ".html", ".png", ".jpg", ".pdf", ".zip", ".gz", ".log")
IMAGE_FILES = (*NIFTI, *NRRD)
# Bytes of a folder's name; disks take 255.
LONGEST_NAME = 200


@dataclass(frozen=True)
class CohortCase:
    """A CT of a cohort. ``name``: of its results' folder. ``source``: folder or file. ``series``: UID, for a folder.

    Workers receive cases, so ``source`` is an absolute path.
    """

    name: str
    source: str
    series: str | None = None

    @property
    def fingerprint(self) -> str:
        """Hash that differs for another CT of the same name, and for this CT once its file has changed."""
        path = os.path.abspath(self.source)
        parts = [path, self.series or ""]
        if self.series is None and os.path.isfile(path):
            found = os.stat(path)
            parts += [str(found.st_size), str(found.st_mtime_ns)]
        return short_hash(*parts)

    @contextmanager
    def opened(self, near: Path) -> Iterator[tuple[str, str | None]]:
        """Yield the place of the CT and its series. ``near``: folder for temporary files."""
        yield self.source, self.series


def find_cases(
    source: str | Path, tell: Callable[[str], None] = lambda note: None, leave_out: Path | None = None
) -> Iterator[CohortCase]:
    """Yield the cases of a folder tree or a datalist, each name once.

    A tree: every NIfTI or NRRD file is a case, and every CT series of ``MIN_SLICES`` slices or more of every folder
    that has CT slices in it (its sub-folders included). Hidden ones are passed over, linked folders not entered, nor
    the folder ``leave_out``. A datalist (``.json``): every ``image`` of every section. Names are paths below the tree,
    with "_" between their parts; those of a datalist are the images' names, by which ``oarseg evaluate`` finds the
    pairs. ``tell``: called with a line on a folder that cannot be read or holds no CT.
    Raises InputError (missing, not a folder nor a datalist) or ConfigError (a malformed datalist).
    """
    path = Path(source)
    if not str(source).strip():
        raise InputError("no input: its path is empty")
    if path.is_dir():
        found = _in_tree(path, tell, leave_out.resolve() if leave_out else None)
    elif path.suffix.lower() == ".json" and path.is_file():
        found = _in_datalist(path)
    elif path.exists():
        raise InputError(f"{path} is a single file; give a folder tree or a datalist, or use oarseg segment")
    else:
        raise InputError(f"{path} does not exist; give a folder tree or a datalist (.json)")
    # The files of the batch itself lie beside the cases' folders.
    seen = {name.casefold() for name in OWN_FILES}
    for case in found:
        name = _unlike(case.name, seen)
        seen.add(name.casefold())
        yield CohortCase(name, os.path.abspath(case.source), case.series)


def _in_tree(root: Path, tell: Callable[[str], None], leave_out: Path | None) -> Iterator[CohortCase]:
    def unreadable(error: OSError) -> None:
        tell(f"{_name(root, Path(error.filename))}: cannot be read ({error.strerror})")

    if not os.access(root, os.R_OK | os.X_OK):
        raise InputError(f"folder {root} cannot be read; check its permissions")
    for place, folders, names in os.walk(root, onerror=unreadable):
        here = Path(place)
        kept = [f for f in sorted(folders) if not f.startswith(".") and (here / f).resolve() != leave_out]
        files = sorted(name for name in names if not name.startswith("."))
        for name in files:
            if suffix := next((suffix for suffix in IMAGE_FILES if name.lower().endswith(suffix)), ""):
                yield CohortCase(_name(root, here / name[: -len(suffix)]), str(here / name))
        if _has_ct(here, files):
            yield from _in_dicom(root, here, tell)
            # What lies below was looked at with it.
            kept = []
        folders[:] = kept


def _has_ct(folder: Path, files: list[str]) -> bool:
    """Return whether one of the files is a slice of a CT; other files make no DICOM folder."""
    paths = (folder / name for name in files if not name.lower().endswith((*IMAGE_FILES, *PASSED_OVER)))
    headers = (read_header(path) for path in paths if path.is_file())
    return any(isinstance(header, Header) and header.is_ct for header in headers)


def _in_dicom(root: Path, folder: Path, tell: Callable[[str], None]) -> Iterator[CohortCase]:
    name = _name(root, folder)
    try:
        series = [one for one in scan_folder(folder).series if one.count >= MIN_SLICES]
    except OarsegError as error:
        tell(f"{name}: {error}")
        return
    if not series:
        tell(f"{name}: no CT series of {MIN_SLICES} slices or more")
    for number, one in enumerate(series, 1):
        suffix = f"_series_{one.number or number}" if len(series) > 1 else ""
        yield CohortCase(name + suffix, str(folder), one.uid)


def _in_datalist(path: Path) -> list[CohortCase]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        rows = [row for section in content.values() if isinstance(section, list) for row in section]
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise ConfigError(f"{path} is no datalist: expected a JSON object with lists of cases") from error
    images = [row["image"] for row in rows if isinstance(row, dict) and isinstance(row.get("image"), str)]
    if not images:
        raise ConfigError(f"{path} is no datalist: no case in it names an 'image'")
    cases = []
    for image in dict.fromkeys(images):
        pure = PurePosixPath(image.replace("\\", "/"))
        if pure.is_absolute() or ".." in pure.parts or ":" in image or not pure.parts:
            raise InputError(f"{path.name}: {image!r} is no path inside the datalist's folder")
        cases.append(CohortCase(_flat(case_name(pure)), str(path.parent / pure)))
    return cases


def _name(root: Path, path: Path) -> str:
    relative = path.relative_to(root).as_posix()
    return _flat(root.resolve().name or "case" if relative == "." else relative)


def _flat(text: str) -> str:
    """Return a path as the name of one folder: in UTF-8, neither hidden nor too long for a disk."""
    name = text.encode(errors="replace").decode().replace("/", "_").replace("?", "_").lstrip(".") or "case"
    if len(name.encode()) <= LONGEST_NAME:
        return name
    digest = hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:12]
    return f"{name.encode()[: LONGEST_NAME - 13].decode(errors='ignore')}_{digest}"


def _unlike(name: str, seen: set[str]) -> str:
    """Return ``name``, with a number if another case has it; capitals do not count, as on some disks."""
    if name.casefold() not in seen:
        return name
    return next(f"{name}_{n}" for n in range(2, 2 + len(seen) + 1) if f"{name}_{n}".casefold() not in seen)
