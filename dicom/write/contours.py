"""Mask -> closed planar contours, slice by slice.

Decision: contours run at level 0.5 of the unsmoothed mask (marching squares), half-way between the centres of an
inside and an outside pixel. Then the centre of a pixel is inside the contour exactly if the pixel is in the mask, so a
planning system that tests pixel centres gets the very mask back, down to an optic nerve two pixels wide. Smoothing the
mask first looks nicer, but takes from thin organs.

Holes use the keyhole convention (DICOM PS3.3 C.8.8.6.3): the outer contour runs along a channel of no width to the
hole, around it the other way, and back along the same channel. The result is one closed contour per connected part.

Coordinates: contourpy calls the column x and the row y. They are kept doubled as integers in here (vertices of level
0.5 lie at whole or half pixels), so that comparing them is exact.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import contourpy
import numpy as np

from oarseg.dicom.read.series import CtGrid
from oarseg.errors import GeometryError
from oarseg.geometry.label_map import bounding_box

Index = tuple[int, int, int]
MIN_POINTS = 3
# Decimals of a millimetre written: a thousandth is far below a pixel, and keeps every number within 16 characters.
DECIMALS = 3
_LEVEL = 0.5
_ABOVE = 2.0


@dataclass(frozen=True, eq=False)
class Contour:
    """One closed contour. ``slice_index``: of the grid. ``points``: LPS mm, shape (n, 3), the first not repeated."""

    slice_index: int
    points: np.ndarray


def mask_contours(mask: np.ndarray, grid: CtGrid, start: Index | None = None) -> list[Contour]:
    """Return the contours of a mask of shape (slices, rows, columns), index order of ``grid``; non-zero is inside.

    ``start``: index in ``grid`` of the mask's first voxel, for a mask of a part of it; without, the mask is of all.
    They come by slice; an empty mask gives an empty list. Works in the bounding box of the mask only.
    Raises GeometryError where the shapes differ, or the part lies beyond the grid.
    """
    if start is None and tuple(mask.shape) != grid.shape:
        raise GeometryError(f"the mask is {tuple(mask.shape)}, the CT {grid.shape} (slices, rows, columns)")
    first = start or (0, 0, 0)
    if any(a < 0 or a + n > size for a, n, size in zip(first, mask.shape, grid.shape, strict=True)):
        raise GeometryError(f"the mask of {tuple(mask.shape)} voxels from {first} on leaves the CT {grid.shape}")
    box = bounding_box(mask)
    if box is None:
        return []
    slices, rows, columns = box
    contours = []
    for index in range(slices.start, slices.stop):
        for column_row in plane_contours(mask[index, rows, columns]):
            row, column = column_row[:, 1] + rows.start + first[1], column_row[:, 0] + columns.start + first[2]
            points = grid.slice_points(index + first[0], row, column)
            contours.append(Contour(index + first[0], np.round(points, DECIMALS) + 0.0))
    return contours


def plane_contours(mask: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the contours of a plane mask (rows, columns), (n, 2) fractional (column, row) each, holes keyholed."""
    if not mask.any():
        return
    # A rim of outside pixels closes the contours at the border.
    padded = np.pad(np.asarray(mask, dtype=bool), 1).astype(np.float32)
    generator = contourpy.contour_generator(z=padded, name="serial", fill_type=contourpy.FillType.OuterOffset)
    for points, offsets in zip(*generator.filled(_LEVEL, _ABOVE), strict=True):
        doubled = np.rint(points * 2).astype(np.int64)
        # contourpy repeats the first point at the end of each ring.
        rings = [doubled[a : b - 1] for a, b in zip(offsets[:-1], offsets[1:], strict=True)]
        ring = _without_collinear(_keyhole(rings[0], rings[1:]))
        if len(ring) >= MIN_POINTS:
            yield ring / 2.0 - 1.0


def _keyhole(outer: np.ndarray, holes: list[np.ndarray]) -> np.ndarray:
    """Join the holes to the outer ring by channels of no width that cross nothing.

    From the leftmost vertex of a hole the channel runs left along its row of pixel centres. Level-0.5 contours meet
    such a row in vertices only, so the nearest vertex on it is the first thing hit. Holes are taken from left to right:
    what is hit has been joined already.
    """
    for hole in sorted(holes, key=lambda h: int(h[:, 0].min())):
        start = int(np.argmin(hole[:, 0]))
        x, y = hole[start]
        left = np.flatnonzero((outer[:, 1] == y) & (outer[:, 0] < x))
        target = int(left[np.argmax(outer[left, 0])])
        around = np.concatenate([np.roll(hole, -start, axis=0), hole[start : start + 1]])
        outer = np.concatenate([outer[: target + 1], around, outer[target:]])
    return outer


def _without_collinear(ring: np.ndarray) -> np.ndarray:
    """Drop vertices on a straight run between their neighbours; turns back (a channel's ends) are kept."""
    before, after = ring - np.roll(ring, 1, axis=0), np.roll(ring, -1, axis=0) - ring
    straight = before[:, 0] * after[:, 1] == before[:, 1] * after[:, 0]
    onward = (before * after).sum(axis=1) > 0
    return ring[~(straight & onward)]
