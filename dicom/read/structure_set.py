"""DICOM RT Structure Sets as label maps: ROI names to organs, contours to voxels of a given grid.

Which name is which organ is said by :mod:`oarseg.sites.roi_names` and the user's own map. What is in neither is
reported.

A voxel is inside where its centre is (even-odd rule); contours of one ROI on one slice are combined by exclusive or, so
that an inner contour is a hole whether it is keyholed or drawn on its own (DICOM PS3.3 C.8.8.6.3).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from matplotlib.path import Path as Polygon
from pydicom.dataset import Dataset

from oarseg.dicom.guards.deflated import MOST_INFLATED, inflates_beyond
from oarseg.dicom.guards.nested import items_of, text_of, value_of
from oarseg.dicom.write.rtstruct import RTSTRUCT_CLASS, ClosedContour
from oarseg.errors import ConfigError, GeometryError, InputError
from oarseg.files import reading_file
from oarseg.geometry.affine import LPS_TO_RAS
from oarseg.geometry.label_map import LabelMap, bounding_box, painted
from oarseg.sites import Site
from oarseg.sites.roi_names import NameTable
from oarseg.text import listed

ROIS, CONTOURS = "StructureSetROISequence", "ROIContourSequence"
MAX_BYTES = 1 << 30
# How far a contour may lie off a slice of the grid, in slices: beyond it, it was drawn on other slices.
OFF_SLICE = 0.2
# Vertices are rounded to this many decimals of a voxel: a file gives them to 0.001 mm or so, and what was meant to lie
# on one row of voxel centres must do so, or a keyhole's channel opens.
DECIMALS = 2
# Centres are tested this far beside themselves, in voxels. A keyhole's channel, there and back, runs through centres,
# and a point on a line is neither inside nor outside of it.
ASIDE = (0.0031, 0.0017)


@dataclass(frozen=True, eq=False)
class Structures:
    """``label_map``: of the ROIs that are organs. ``organs``: their keys. ``notes``: what was left out, and why."""

    label_map: LabelMap
    organs: tuple[str, ...]
    notes: tuple[str, ...]


def read_rtstruct(path: Path, grid: LabelMap, site: Site, names: NameTable, may_lack_all: bool = False) -> Structures:
    """Return the organs of an RTSTRUCT as a label map on the voxels of ``grid``.

    Where two organs overlap, the smaller has the voxel, and a note says so.

    Args:
        path: the RTSTRUCT.
        grid: its shape and affine (index to RAS mm) count.
        site: the organs and their label values.
        names: which ROI name is which organ.
        may_lack_all: whether a structure set without any organ is an empty label map and a note, as of a prediction
            that found nothing, instead of an error.
    Raises InputError (no RTSTRUCT, damaged), ConfigError (no ROI is an organ, two ROIs are one organ) or GeometryError
    (contours off the grid's slices).
    """
    dataset = load_structure_set(path)
    chosen, notes = organ_contours(dataset, names, path.name)
    if not chosen:
        rois = listed(map(repr, roi_names(dataset, path.name)))
        if not may_lack_all:
            raise ConfigError(f"{path.name}: no ROI is an organ: {rois or 'there is none'}; map them by --names")
        notes.append(f"{path.name}: no organ in it; all that the reference labels counts as missed")
    pieces = {}
    for key, contours in chosen.items():
        where = f"{path.name}, {site.organ(key).name}"
        mask, remarks = draw(contours, grid, where)
        notes += remarks
        if box := bounding_box(mask):
            pieces[key] = (box, mask[box].copy())
        else:
            notes.append(f"{where}: no voxel's centre lies within its contours, left out")
    label, taken = painted(pieces, site.values, grid.label.shape)
    for key, count in taken.items():
        if count:
            notes.append(f"{path.name}: {site.organ(key).name} overlaps larger organs in {count} voxels and keeps them")
    return Structures(LabelMap(label, grid.affine), tuple(pieces), tuple(notes))


def is_rtstruct(path: Path) -> bool:
    """Return whether a file is an RTSTRUCT, by its header."""
    try:
        with path.open("rb") as file:
            if inflates_beyond(file):
                return False
            head = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=["SOPClassUID"])
        return str(head.get("SOPClassUID", "")) == RTSTRUCT_CLASS
    except Exception:  # noqa: BLE001 - pydicom raises nearly anything on what is no DICOM
        return False


def load_structure_set(path: Path) -> Dataset:
    """Return an RTSTRUCT with its ROIs and contours. Raises InputError where the file is none, or damaged."""
    with reading_file(path, "RTSTRUCT", quote=False):
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{path.name} is larger than {MAX_BYTES >> 20} MiB, so no RTSTRUCT of one patient")
        with path.open("rb") as file:
            if inflates_beyond(file):
                raise InputError(f"{path.name} is deflated, of more than {MOST_INFLATED >> 20} MiB; export it plainly")
            dataset = pydicom.dcmread(file)
        if str(dataset.get("SOPClassUID", "")) != RTSTRUCT_CLASS:
            raise InputError(f"{path.name} is DICOM, but no RTSTRUCT; give the structure set")
        for keyword in (ROIS, CONTOURS):
            dataset[keyword]
            items_of(dataset, keyword, path.name)
    return dataset


def organ_contours(dataset: Dataset, names: NameTable, file: str) -> tuple[dict[str, list[np.ndarray]], list[str]]:
    """Return the contours, (n, 3) LPS mm, by organ key, and notes on the ROIs that are left out.

    ``file`` names the structure set in messages. Raises InputError, or ConfigError where two ROIs are one organ.
    """
    rois = _numbered(items_of(dataset, ROIS, file), "ROINumber", roi_names(dataset, file), file)
    contoured = items_of(dataset, CONTOURS, file)
    drawn = _numbered(contoured, "ReferencedROINumber", contoured, file)
    unknown = names.unknown(rois.values())
    notes = [f"{file}: not in the organ table, left out: {listed(map(repr, unknown))} (see --names)"] if unknown else []
    names.organs(rois.values(), file)
    chosen: dict[str, list[np.ndarray]] = {}
    for number, name in rois.items():
        if (key := names.organ(name)) is None:
            continue
        where = f"{file}, {name}"
        contours = items_of(drawn[number], "ContourSequence", where) if number in drawn else []
        closed = [c for c in contours if text_of(c, "ContourGeometricType", where) in list(ClosedContour)]
        if points := [p for p in (_points(c, where) for c in closed) if len(p)]:
            chosen[key] = points
        else:
            notes.append(f"{file}: {name} has no closed contour, left out")
    return chosen, notes


def roi_names(dataset: Dataset, file: str) -> list[str]:
    """Return the name of each ROI, in order; "" where it has none. Raises InputError."""
    return [text_of(roi, "ROIName", file) for roi in items_of(dataset, ROIS, file)]


def _numbered(items: list[Dataset], keyword: str, values: Iterable, file: str) -> dict[int, Any]:
    """Return ``values`` by the ROI numbers of ``items``.

    Raises InputError where a number is missing, no whole number, or stands twice.
    """
    found: dict[int, Any] = {}
    for item, value in zip(items, values, strict=True):
        number = value_of(item, keyword, file)
        if not isinstance(number, int | None):
            raise InputError(f"{file}: {keyword} is {str(number)[:40]!r}, expected a whole number; export it again")
        if number is None or number in found:
            what = "an ROI has no number" if number is None else f"ROI number {number} stands twice"
            raise InputError(f"{file}: {what}, so whose contours are meant is not certain; export it again")
        found[number] = value
    return found


def _points(contour: Dataset, where: str) -> np.ndarray:
    """Shape (n, 3), LPS mm. Raises InputError."""
    values = value_of(contour, "ContourData", where)
    try:
        if isinstance(values, str | bytes):
            raise TypeError("one value")
        points = np.array([float(v) for v in values or ()], dtype=float).reshape(-1, 3)
    except (ValueError, TypeError, OverflowError) as error:
        raise InputError(f"{where}: ContourData is not three numbers a point; export it again") from error
    if not np.isfinite(points).all():
        raise InputError(f"{where}: ContourData holds NaN or infinity; export it again")
    return points


def draw(contours: list[np.ndarray], grid: LabelMap, where: str) -> tuple[np.ndarray, list[str]]:
    """Return the mask (i, j, k) of one ROI's closed contours on the voxels of ``grid``, and notes.

    ``contours``: each (n, 3) LPS mm. ``where`` names the ROI in messages. A contour that stands twice counts once: by
    exclusive or the organ would vanish. Raises GeometryError where a contour does not lie in one plane of voxels, lies
    between two or off the grid, or where most slices between the contours have none (they were drawn on thicker
    slices).
    """
    different = list({points.tobytes(): points for points in contours}.values())
    twice = len(contours) - len(different)
    notes = [f"{where}: {twice} contours stand twice and count once"] if twice else []
    inverse = np.linalg.inv(LPS_TO_RAS @ grid.affine)
    index = [points @ inverse[:3, :3].T + inverse[:3, 3] for points in different]
    low, high = (np.array([f(points, axis=0) for points in index]) for f in (np.min, np.max))
    # An edge may run half a voxel beyond the last centre.
    if not ((low > -1).all() and (high < grid.label.shape).all()):
        raise GeometryError(f"{where}: a contour leaves the grid's voxels; give the grid of the CT it was drawn on")
    # The axis across which every contour is flat.
    thickness = np.max([np.ptp(points, axis=0) for points in index], axis=0)
    axis = int(np.argmin(thickness))
    if thickness[axis] > OFF_SLICE:
        raise GeometryError(f"{where}: contours lie oblique to the voxels; give the grid of the CT they were drawn on")
    mask = np.zeros(grid.label.shape, dtype=bool)
    planes = np.moveaxis(mask, axis, 0)
    levels = set()
    for points in index:
        height = float(points[:, axis].mean())
        level = round(height)
        if abs(height - level) > OFF_SLICE or not 0 <= level < len(planes):
            raise GeometryError(
                f"{where}: a contour lies on slice {height:.2f} of 0 to {len(planes) - 1}; give the grid of the CT "
                "that it was drawn on"
            )
        levels.add(level)
        _fill(planes[level], np.delete(points, axis, axis=1).round(DECIMALS))
    return mask, notes + _gaps(levels, where)


def _gaps(levels: set[int], where: str) -> list[str]:
    """Return a note on slices without a contour between others. Raises GeometryError where most have none."""
    steps = np.diff(sorted(levels))
    if len(steps) > 2 and np.median(steps) > 1:
        raise GeometryError(
            f"{where}: contours lie {np.median(steps):g} slices apart; give the grid of the CT that they were drawn "
            "on, or interpolate them where they were drawn"
        )
    lacking = int((steps - 1).sum())
    return [f"{where}: {lacking} slice(s) between its contours have none"] if lacking else []


def _fill(plane: np.ndarray, vertices: np.ndarray) -> None:
    """Turn over the pixels of ``plane`` (a, b) whose centre lies within a polygon (n, 2) of pixel indices."""
    low = np.clip(np.ceil(vertices.min(axis=0)), 0, plane.shape).astype(int)
    high = np.clip(np.floor(vertices.max(axis=0)) + 1, 0, plane.shape).astype(int)
    if len(vertices) < 3 or (high <= low).any():
        return
    centres = np.stack(np.meshgrid(*(np.arange(a, b) for a, b in zip(low, high, strict=True)), indexing="ij"), axis=-1)
    inside = Polygon(vertices).contains_points(centres.reshape(-1, 2) + ASIDE).reshape(centres.shape[:2])
    plane[low[0] : high[0], low[1] : high[1]] ^= inside
