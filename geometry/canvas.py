"""The original grid, onto which every organ is painted; one rule where two claim a voxel."""

from __future__ import annotations

import math

import numpy as np

from oarseg.geometry.grid import Grid, resample


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
        """Paint one organ, whose ``probability`` (d, h, w) lies on ``source``; returns how many voxels it gained."""
        region, fine = self._sampled(probability, source)
        if not fine.size:
            return 0
        certainty = self.certainty[region]
        wins = (fine >= 0.5) & (fine > certainty)
        self.label[region][wins] = value
        certainty[wins] = fine[wins]
        return int(np.count_nonzero(wins))

    def _sampled(self, probability: np.ndarray, source: Grid) -> tuple[tuple[slice, ...], np.ndarray]:
        """The canvas' voxels that ``source`` covers, and the probability there, float16."""
        region, target = self._region(source)
        if 0 in target.shape:
            return region, np.zeros(target.shape, np.float16)
        return region, resample(probability[None], source, target)[0].astype(np.float16)

    def _region(self, source: Grid) -> tuple[tuple[slice, ...], Grid]:
        """The canvas' voxels that ``source`` covers, as slices and as a grid."""
        start, stop = [], []
        for axis in range(3):
            step, size = self.grid.spacing[axis], self.grid.shape[axis]
            low = (source.origin[axis] - self.grid.origin[axis]) / step
            start.append(min(size, max(0, math.floor(low))))
            stop.append(min(size, max(start[-1], math.ceil(low + source.extent[axis] / step))))
        region = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
        return region, self.grid.crop(tuple(start), tuple(stop))
