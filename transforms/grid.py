"""The one geometry of oarseg's resampling: axis-aligned grids in millimetres along a volume's own axes.

All triples are in D, H, W order. The origin of the millimetre axes is the outer corner of the image's first voxel, so
that voxel i of an image covers [i, i + 1] x spacing. World orientation is left to the image's affine: it is the same
for every grid laid over that image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from monai.data import MetaTensor
from torch import Tensor

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Grid:
    """``shape`` voxels of ``spacing`` mm from the corner ``origin`` mm."""

    origin: Triple
    spacing: Triple
    shape: tuple[int, int, int]

    @property
    def extent(self) -> Triple:
        """Size in mm."""
        return tuple(n * s for n, s in zip(self.shape, self.spacing, strict=True))

    def centres(self, axis: int) -> np.ndarray:
        """Voxel centres along ``axis``, mm, shape (n,)."""
        return self.origin[axis] + (np.arange(self.shape[axis]) + 0.5) * self.spacing[axis]

    def crop(self, start: tuple[int, int, int], stop: tuple[int, int, int]) -> Grid:
        """The sub-grid of voxels ``start`` to ``stop`` (exclusive; may lie outside this grid)."""
        origin = tuple(o + a * s for o, a, s in zip(self.origin, start, self.spacing, strict=True))
        return Grid(origin, self.spacing, tuple(b - a for a, b in zip(start, stop, strict=True)))


def image_grid(shape: tuple[int, int, int], affine: np.ndarray | Tensor) -> Grid:
    """The grid of an image of ``shape`` voxels whose affine (4, 4) gives the spacing."""
    matrix = np.asarray(affine, dtype=float)[:3, :3]
    return Grid((0.0, 0.0, 0.0), tuple(np.linalg.norm(matrix, axis=0).tolist()), tuple(int(n) for n in shape))


def grid_affine(affine: np.ndarray, grid: Grid) -> np.ndarray:
    """Affine (4, 4) of ``grid``, laid over the image with ``affine``."""
    affine = np.asarray(affine, dtype=float)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    out = affine.copy()
    out[:3, :3] = affine[:3, :3] / spacing * np.asarray(grid.spacing)
    first = (np.asarray(grid.origin) + 0.5 * np.asarray(grid.spacing)) / spacing - 0.5
    out[:3, 3] = affine[:3, :3] @ first + affine[:3, 3]
    return out


def with_affine(values: Tensor, affine: Tensor, source: MetaTensor) -> MetaTensor:
    """``values`` with their own affine and a copy of the other meta data of ``source``, which keeps its own affine."""
    return MetaTensor(values, affine=affine, meta={k: v for k, v in source.meta.items() if k != "affine"})


def resample(volume: Tensor, source: Grid, target: Grid, mode: str = "linear") -> Tensor:
    """Values of ``volume`` at the voxel centres of ``target``; zero outside.

    Args: ``volume`` (C, D, H, W) on ``source``. ``mode``: "linear" (float32 result; averages first where the target is
    coarser, so that no voxel is skipped) or "nearest" (dtype kept, for label maps).
    Returns (C, *target.shape). Separable, axis by axis, so that no three-dimensional field of coordinates is held.
    """
    if mode not in ("linear", "nearest"):
        raise ValueError(f"mode must be 'linear' or 'nearest', not {mode!r}")
    volume, source = _crop_to(volume, source, target)
    if 0 in volume.shape:
        dtype = torch.float32 if mode == "linear" else volume.dtype
        return torch.zeros((volume.shape[0], *target.shape), dtype=dtype, device=volume.device)
    if mode == "linear":
        volume, source = _average(volume.float(), source, target)
    # Axes that lose most voxels first: less to do for the others.
    for axis in sorted(range(3), key=lambda a: target.shape[a] / source.shape[a]):
        position = (target.centres(axis) - source.origin[axis]) / source.spacing[axis] - 0.5
        volume = _interpolate(volume, axis + 1, position, mode)
    return volume


def _crop_to(volume: Tensor, source: Grid, target: Grid) -> tuple[Tensor, Grid]:
    """Only the voxels that ``target`` can touch."""
    start, stop = [], []
    for axis in range(3):
        reach = max(1, target.spacing[axis] / source.spacing[axis]) + 1
        low = (target.origin[axis] - source.origin[axis]) / source.spacing[axis] - reach
        high = low + target.extent[axis] / source.spacing[axis] + 2 * reach
        size = source.shape[axis]
        start.append(min(size, max(0, int(np.floor(low)))))
        stop.append(max(start[-1], min(size, int(np.ceil(high)))))
    view = volume[:, start[0] : stop[0], start[1] : stop[1], start[2] : stop[2]]
    return view, source.crop(tuple(start), tuple(stop))


def _average(volume: Tensor, source: Grid, target: Grid) -> tuple[Tensor, Grid]:
    """Box-average by whole factors, down to about the target's spacing."""
    factor = [max(1, int(t / s + 1e-6)) for t, s in zip(target.spacing, source.spacing, strict=True)]
    factor = [min(f, n) for f, n in zip(factor, source.shape, strict=True)]
    if factor == [1, 1, 1]:
        return volume, source
    pad = [-n % f for n, f in zip(source.shape, factor, strict=True)]
    if any(pad):
        # The last, incomplete block repeats the border voxel instead of mixing in air.
        volume = F.pad(volume[None], (0, pad[2], 0, pad[1], 0, pad[0]), mode="replicate")[0]
    volume = F.avg_pool3d(volume[None], factor)[0]
    spacing = tuple(s * f for s, f in zip(source.spacing, factor, strict=True))
    return volume, Grid(source.origin, spacing, tuple(volume.shape[1:]))


def _interpolate(volume: Tensor, axis: int, position: np.ndarray, mode: str) -> Tensor:
    """Values at fractional indices ``position`` along ``axis``; zero beyond the outer half voxel."""
    size = volume.shape[axis]
    inside = (position >= -0.5 - 1e-6) & (position <= size - 0.5 + 1e-6)
    view = [1] * volume.ndim
    view[axis] = len(position)
    keep = torch.as_tensor(inside, device=volume.device).view(view)
    if mode == "nearest":
        index = np.clip(np.floor(position + 0.5), 0, size - 1).astype(np.int64)
        return volume.index_select(axis, torch.as_tensor(index, device=volume.device)) * keep
    clipped = np.clip(position, 0, size - 1)
    low = np.minimum(np.floor(clipped), max(size - 2, 0)).astype(np.int64)
    weight = torch.as_tensor(clipped - low, dtype=volume.dtype, device=volume.device).view(view)
    high = np.minimum(low + 1, size - 1)
    below = volume.index_select(axis, torch.as_tensor(low, device=volume.device))
    above = volume.index_select(axis, torch.as_tensor(high, device=volume.device))
    return torch.lerp(below, above, weight) * keep
