"""Folders of DICOM CTs with a structure set (RTSTRUCT) each, as planning systems and archives export them.

Each sub-folder of the given folder is a case: a CT and one structure set, at any depth, beside whatever else. The CT is
the series that the structure set refers to. Names of organs go through the table of names.

Nothing that is written or said names a patient: cases are numbered, and the numbers stand in a file outside the data
set (:mod:`~oarseg.datasets.convert.numbers`); messages lose the names of files and folders.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from oarseg.datasets.convert.cases import Listing, Loaded, SourceCase
from oarseg.datasets.convert.numbers import Numbers
from oarseg.dicom.guards.nested import items_of, text_of
from oarseg.dicom.read.header import Header, read_header
from oarseg.dicom.read.scan import files_below, patient_key
from oarseg.dicom.read.structure_set import ROIS, draw, load_structure_set, organ_contours, roi_names
from oarseg.dicom.write.rtstruct import RTSTRUCT_CLASS
from oarseg.errors import GeometryError, InputError, OarsegError
from oarseg.geometry.label_map import LabelMap
from oarseg.images.read import read_image
from oarseg.sites.roi_names import NameTable
from oarseg.text import printable

# In place of a file's name in messages.
HIDDEN = "[file]"
FILE = "the structure set"


def list_structure_sets(source: Path, names: NameTable, numbers: Numbers) -> Listing:
    """Return one case for each sub-folder. Raises InputError where ``source`` is no folder or holds none."""
    if not source.is_dir():
        raise InputError(f"no folder {source}; give the folder that holds one folder a patient")
    listing = Listing()
    for folder in sorted(p for p in source.iterdir() if p.is_dir() and not p.name.startswith(".")):
        files = tuple(files_below(folder, f"a sub-folder of {source}"))
        if not files:
            continue
        clean = partial(without_names, folder=folder, files=files)
        headers = [h for h in map(read_header, files) if isinstance(h, Header)]
        plans = [h for h in headers if h.text("SOPClassUID") == RTSTRUCT_CLASS]
        patient, name = numbers.of(folder.name, patient_key((plans or headers)[0]) if headers else "")
        try:
            if len(plans) != 1:
                raise InputError(f"the folder holds {len(plans)} structure sets (RTSTRUCT), expected exactly one")
            organs = _organs(plans[0].path, names, listing)
            held = {h.text("SeriesInstanceUID") for h in headers if h.is_ct and not h.is_localizer}
        except OarsegError as error:
            listing.refused[name] = clean(str(error))
            continue
        made_of = {key: printable(roi) for key, roi in organs.items()}
        read = partial(load, folder, plans[0].path, names, frozenset(held))
        listing.cases.append(SourceCase(name, patient, files, made_of, read, clean))
    return listing.checked(source, "sub-folders with a CT and a structure set (RTSTRUCT) each")


def _organs(path: Path, names: NameTable, listing: Listing) -> dict[str, str]:
    """Return the ROI name by organ key, and count all names in ``listing``."""
    rois = list(dict.fromkeys(roi_names(load_structure_set(path), FILE)))
    listing.known.update((printable(roi), key) for roi in rois if (key := names.organ(roi)))
    listing.unknown.update(map(printable, names.unknown(rois)))
    organs = names.organs(rois, FILE)
    if not organs:
        raise InputError(f"{FILE} names no organ of the table; see what was not recognised, and map it by --names")
    return organs


def load(folder: Path, plan: Path, names: NameTable, held: frozenset[str]) -> Loaded:
    """Read the CT that the structure set ``plan`` refers to, and draw its organs on it.

    ``held``: UIDs of the CT series in the folder. Raises InputError, ConfigError, or GeometryError where the structure
    set is another CT's.
    """
    dataset = load_structure_set(plan)
    series = _referenced(dataset)
    image = read_image(folder, _series(series, held))
    _check_same_patient(dataset, image.volume.header, image.volume.frame_of_reference_uid, names, bool(series))
    contours, notes = organ_contours(dataset, names, FILE)
    notes = [note for note in notes if "not in the organ table" not in note]
    hu = image.hu
    grid = LabelMap(np.empty(hu.shape, dtype=bool), image.affine)
    notes += [note for note in image.warnings if "RTSTRUCT object" not in note]
    # Read as slices, rows, columns; NIfTI tools expect columns, rows, slices. The voxels stay where they are.
    return Loaded(hu.transpose(2, 1, 0), image.affine[:, [2, 1, 0, 3]], _masks(contours, grid, notes), notes)


def _masks(contours: Mapping, grid: LabelMap, notes: list[str]) -> Iterator[tuple[str, np.ndarray]]:
    for key, points in contours.items():
        mask, remarks = draw(points, grid, key)
        notes += remarks
        yield key, mask.transpose(2, 1, 0)


def _referenced(dataset: Dataset) -> list[str]:
    """Return the UIDs of the series that a structure set says it was drawn on."""
    found = [dataset]
    for keyword in ("ReferencedFrameOfReferenceSequence", "RTReferencedStudySequence", "RTReferencedSeriesSequence"):
        found = [item for one in found for item in items_of(one, keyword, FILE)]
    return list(dict.fromkeys(uid for series in found if (uid := text_of(series, "SeriesInstanceUID", FILE))))


def _series(referenced: list[str], held: frozenset[str]) -> str | None:
    """Return the series to read: the one that is referred to; where none is, the only one."""
    if not referenced and len(held) <= 1:
        return None
    found = [uid for uid in referenced if uid in held]
    if len(found) == 1:
        return found[0]
    what = f"refers to {len(found)} of them" if referenced else "refers to none"
    raise GeometryError(
        f"the folder holds {len(held)} CT series and {FILE} {what}; expected the one CT that it was drawn on"
    )


def _check_same_patient(dataset: Dataset, header: Dataset, frame: str, names: NameTable, series: bool) -> None:
    """Refuse a structure set of another patient or another frame of reference than the CT's; no message has a UID.

    ``frame``: the CT's frame of reference. ``series``: whether the structure set refers to a series.
    """
    ids = {text_of(d, "PatientID", FILE) for d in (dataset, header)} - {""}
    if len(ids) > 1:
        raise InputError(f"{FILE} is another patient's than the CT; leave what belongs together in the folder")
    rois = [r for r in items_of(dataset, ROIS, FILE) if names.organ(text_of(r, "ROIName", FILE))]
    stated = {text_of(r, "ReferencedFrameOfReferenceUID", FILE) for r in rois}
    if stated <= {""}:
        frames = items_of(dataset, "ReferencedFrameOfReferenceSequence", FILE)
        stated = {text_of(f, "FrameOfReferenceUID", FILE) for f in frames}
    stated -= {""}
    if stated and frame and stated != {frame}:
        raise GeometryError(
            f"{FILE} was drawn in another frame of reference than this CT's, so its contours lie elsewhere; give the "
            "CT that it was drawn on"
        )
    if not (stated and frame) and not series:
        raise GeometryError(
            f"{FILE} and the CT state no frame of reference and no series in common; export both again"
        )


def without_names(text: str, folder: Path, files: tuple[Path, ...]) -> str:
    """Return ``text`` without the names of files and folders, which may hold a patient's name or number."""
    parts = {part for path in files for part in path.relative_to(folder.parent).parts}
    stems = {Path(part).stem for part in parts}
    for name in [str(folder), *sorted(parts | stems, key=len, reverse=True)]:
        if len(name) > 2:
            text = text.replace(name, HIDDEN)
    return text
