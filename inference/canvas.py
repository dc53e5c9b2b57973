"""The original grid, onto which every organ is painted; one rule where two claim a voxel."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from oarseg.transforms import Grid, resample


class Canvas:
    """A label map on ``grid`` that remembers how sure each voxel's organ is.

    The rule for overlaps: a voxel belongs to the organ with the highest probability, if that is at least one half;
    between equals, to the one painted first (the lower label value).
    """

    def __init__(self, grid: Grid, device: torch.device | str = "cpu") -> None:
        self.grid = grid
        self.label = torch.zeros(grid.shape, dtype=torch.uint8, device=device)
        # Half precision: it only ranks organs, and a planning CT has tens of millions of voxels.
        self.certainty = torch.zeros(grid.shape, dtype=torch.float16, device=device)

    def paint(self, value: int, probability: Tensor, source: Grid) -> int:
        """Paint one organ, whose ``probability`` (d, h, w) lies on ``source``; returns how many voxels it gained."""
        region, target = self._region(source)
        if 0 in target.shape:
            return 0
        fine = resample(probability[None].to(self.label.device), source, target)[0].to(torch.float16)
        wins = (fine >= 0.5) & (fine > self.certainty[region])
        self.label[region][wins] = value
        self.certainty[region] = torch.where(wins, fine, self.certainty[region])
        return int(wins.sum())

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
