"""The CT's own voxels, onto which every organ is painted; one rule where two claim a voxel."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from oarseg.geometry.affine import OBLIQUE_DEGREES, corner_points, obliqueness, voxel_spacing
from oarseg.geometry.grid import Grid, resample
from oarseg.geometry.volume import Volume, hu_volume, straightened, turned, turned_geometry


class Canvas:
    """A label map on ``grid`` that remembers how sure each voxel's organ is.

    The rule for overlaps: a voxel belongs to the organ with the highest probability, if that is at least one half;
    between equals, to the one painted first (the lower label value).
    ``label``: (D, H, W) uint8 to paint on, all zero; a new one by default.
    """

    def __init__(self, grid: Grid, label: np.ndarray | None = None) -> None:
        self.grid = grid
        self.label = np.zeros(grid.shape, np.uint8) if label is None else label
        # Half precision: it only ranks organs, and a planning CT has tens of millions of voxels. Memory is taken only
        # where something is painted.
        self.certainty = np.zeros(grid.shape, np.float16)

    def paint(self, value: int, probability: np.ndarray, source: Grid) -> int:
        """Paint one organ, whose ``probability`` (d, h, w) lies on ``source``; return how many voxels it gained."""
        region, fine = self._sampled(probability, source)
        if not fine.size:
            return 0
        certainty = self.certainty[region]
        wins = (fine >= 0.5) & (fine > certainty)
        self.label[region][wins] = value
        certainty[wins] = fine[wins]
        return int(np.count_nonzero(wins))

    def _sampled(self, probability: np.ndarray, source: Grid) -> tuple[tuple[slice, ...], np.ndarray]:
        """Return the canvas' voxels that ``source`` covers, and the probability there, float16."""
        start, stop = self.grid.touched(source)
        region, target = tuple(map(slice, start, stop)), self.grid.crop(start, stop)
        if 0 in target.shape:
            return region, np.zeros(target.shape, np.float16)
        return region, resample(probability[None], source, target)[0].astype(np.float16)


class ObliqueCanvas(Canvas):
    """A canvas whose voxels lie oblique to the grids that organs are painted from.

    ``label`` (i, j, k) uint8, all zero, with ``affine``; ``axes``: RAS affine of the straight grid whose millimetres
    the organs' grids are in.
    """

    def __init__(self, label: np.ndarray, affine: np.ndarray, axes: np.ndarray) -> None:
        self.label = label
        self.certainty = np.zeros(label.shape, np.float16)
        spacing = voxel_spacing(axes)
        # Millimetres of a grid begin at the outer corner of its first voxel.
        to_mm = np.diag([*spacing, 1.0])
        to_mm[:3, 3] = spacing / 2
        self._to_mm = to_mm @ np.linalg.inv(axes) @ affine

    def _sampled(self, probability: np.ndarray, source: Grid) -> tuple[tuple[slice, ...], np.ndarray]:
        end = [o + e for o, e in zip(source.origin, source.extent, strict=True)]
        index = corner_points(np.linalg.inv(self._to_mm), source.origin, end)
        low = np.clip(np.floor(index.min(axis=0)), 0, self.label.shape).astype(int)
        high = np.clip(np.ceil(index.max(axis=0)) + 1, low, self.label.shape).astype(int)
        region = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
        shape = tuple(int(n) for n in high - low)
        if 0 in shape:
            return region, np.zeros(shape, np.float16)
        scale = 1 / np.asarray(source.spacing)
        matrix = scale[:, None] * self._to_mm[:3, :3]
        offset = scale * (self._to_mm[:3, :3] @ low + self._to_mm[:3, 3] - source.origin) - 0.5
        fine = ndimage.affine_transform(probability, matrix, offset, shape, np.float32, 1, "grid-constant")
        return region, fine.astype(np.float16)


def placed(hu: np.ndarray, affine: np.ndarray, label: np.ndarray) -> tuple[Volume, Canvas, np.ndarray]:
    """Return a CT as the stages see it, the canvas that paints ``label``, and the RAS affine of the volume's grid.

    ``hu``, ``label`` (uint8 zeros): (i, j, k) with ``affine`` (4, 4) to RAS mm. Up to ``OBLIQUE_DEGREES`` the volume is
    a view of ``hu``; beyond, it costs one int16 volume around the turned one.
    Raises GeometryError where that would be too large.
    """
    if obliqueness(affine) > OBLIQUE_DEGREES:
        volume, axes = straightened(hu, affine)
        return volume, ObliqueCanvas(label, affine, axes), axes
    volume = hu_volume(hu, affine)
    return volume, Canvas(volume.grid, turned(label, affine)), turned_geometry(hu.shape, affine)[1]
