"""One checked CT series as a volume with its geometry.

>>> volume = read_ct("planning_ct")                                # doctest: +SKIP
>>> volume.hu.shape, volume.affine @ [0, 0, 0, 1]                  # doctest: +SKIP
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from oarseg.dicom.read.choose import choose_series
from oarseg.dicom.read.content import check_content
from oarseg.dicom.read.geometry import stack, tilt_warning
from oarseg.dicom.read.header import REFERENCE_TAGS, Header
from oarseg.dicom.read.pixels import read_hu
from oarseg.dicom.read.scan import MIN_SLICES, FoundSeries, scan_folder
from oarseg.errors import GeometryError
from oarseg.geometry.affine import LPS_TO_RAS, voxel_spacing

Vector = tuple[float, float, float]


@dataclass(frozen=True)
class SliceInstance:
    """One slice: the SOP instance to refer to, and the centre of its first pixel in LPS mm."""

    sop_instance_uid: str
    sop_class_uid: str
    position: Vector
    instance_number: str


@dataclass(frozen=True, eq=False)
class CtGrid:
    """The geometry of a CT series, without pixels: all that writing a result needs.

    ``shape``: (slices, rows, columns). ``affine``: index (slice, row, column) to RAS+ mm, 4 x 4 float64, a rotation
    times spacings. ``instances``: one per slice, in index order. ``row_direction``, ``column_direction``: unit vectors
    (LPS) in which the column index and the row index grow. ``spacing_mm``: between slices, rows, columns.
    ``header``: patient, study and series tags of the first slice; it names the patient, so it is kept out of the
    representation. ``warnings``: what was odd but usable.
    """

    shape: tuple[int, int, int]
    affine: np.ndarray
    instances: tuple[SliceInstance, ...]
    row_direction: Vector
    column_direction: Vector
    spacing_mm: Vector
    series_uid: str
    frame_of_reference_uid: str
    warnings: tuple[str, ...]
    header: Dataset = field(repr=False)

    def slice_points(self, index: int, row: np.ndarray, column: np.ndarray) -> np.ndarray:
        """Return the patient position, LPS mm (n, 3), of points of slice ``index`` at fractional rows and columns.

        Uses the slice's own ImagePositionPatient, so a contour lies exactly on the slice that it refers to.
        """
        across = np.multiply.outer(np.asarray(column, float) * self.spacing_mm[2], self.row_direction)
        down = np.multiply.outer(np.asarray(row, float) * self.spacing_mm[1], self.column_direction)
        return np.asarray(self.instances[index].position) + across + down


@dataclass(frozen=True, eq=False)
class CtVolume(CtGrid):
    """A CT series with pixels. ``hu``: int16 HU, shape (slices, rows, columns)."""

    hu: np.ndarray = field(repr=False)

    def grid(self) -> CtGrid:
        """Return the same without pixels, so that they can be freed."""
        return CtGrid(**{name: getattr(self, name) for name in CtGrid.__dataclass_fields__})


def read_ct(folder: str | Path, series: str | None = None) -> CtVolume:
    """Return the CT series in ``folder``.

    ``series``: which one, where there are several (see ``choose_series``).
    Raises InputError (no CT, several, unreadable files) or GeometryError (the slices make no regular volume).
    """
    scan = scan_folder(folder)
    return read_series(choose_series(scan, series), scan.notes)


def check_series(found: FoundSeries, notes: tuple[str, ...] = ()) -> CtGrid:
    """Return the grid of a series, checked by the headers alone; the pixels are not decoded.

    ``notes``: put before the grid's warnings. Raises InputError or GeometryError.
    """
    return _checked(found, notes)[0]


def read_series(found: FoundSeries, notes: tuple[str, ...] = ()) -> CtVolume:
    """Return one checked series with its pixels; see ``check_series`` and ``read_hu`` for what is refused."""
    grid, ordered = _checked(found, notes)
    hu, pixel_warnings = read_hu(ordered, grid.shape[1], grid.shape[2])
    return CtVolume(**(vars(grid) | {"warnings": grid.warnings + pixel_warnings}), hu=hu)


def _checked(found: FoundSeries, notes: tuple[str, ...]) -> tuple[CtGrid, list[Header]]:
    if found.count < MIN_SLICES:
        raise GeometryError(f"{found.line()}: too few slices, at least {MIN_SLICES} are needed; give the planning CT")
    warnings = notes + check_content(found.slices)
    ordered, affine = stack(found.slices)
    tilt = tilt_warning(ordered)
    return _grid(ordered, affine, warnings + ((tilt,) if tilt else ())), ordered


def _grid(ordered: list[Header], affine: np.ndarray, warnings: tuple[str, ...]) -> CtGrid:
    first = ordered[0]
    spacing = voxel_spacing(affine)
    lps = LPS_TO_RAS[:3, :3] @ affine[:3, :3] / spacing
    return CtGrid(
        shape=(len(ordered), *first.size),
        affine=affine,
        instances=tuple(_instance(h) for h in ordered),
        row_direction=_vector(lps[:, 2]),
        column_direction=_vector(lps[:, 1]),
        spacing_mm=_vector(spacing),
        series_uid=first.text("SeriesInstanceUID"),
        frame_of_reference_uid=first.text("FrameOfReferenceUID"),
        warnings=warnings,
        header=_reference(first.dataset),
    )


def _instance(header: Header) -> SliceInstance:
    position = header.numbers("ImagePositionPatient", 3)
    return SliceInstance(
        header.text("SOPInstanceUID"), header.text("SOPClassUID"), _vector(position), header.text("InstanceNumber")
    )


def _reference(dataset: Dataset) -> Dataset:
    copy = Dataset()
    for keyword in REFERENCE_TAGS:
        if keyword in dataset:
            copy.add(dataset[keyword])
    return copy


def _vector(values: object) -> Vector:
    x, y, z = (float(v) for v in values)  # type: ignore[attr-defined]
    return x, y, z
