"""The one geometry of oarseg's resampling: axis-aligned grids in millimetres along a volume's own axes.

All triples are in D, H, W order. The origin of the millimetre axes is the outer corner of the image's first voxel, so
that voxel i of an image covers [i, i + 1] x spacing. World orientation is left to the image's affine: it is the same
for every grid laid over that image.

NumPy alone: whoever contours a CT should not wait for PyTorch. ``oarseg.transforms.resample`` takes tensors.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from oarseg.geometry.affine import voxel_spacing

Triple = tuple[float, float, float]
# Rows of a weight matrix that are multiplied at a time: each needs few source voxels, neighbours nearly the same ones.
BAND = 16
# Multiply-adds at a time. Beyond a million BLAS calls its threads, and waiting for them was measured to cost more than
# the work: ten times as much on a busy machine.
AT_ONCE = 1 << 19


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
        """Return the voxel centres along ``axis``, mm, shape (n,)."""
        return self.origin[axis] + (np.arange(self.shape[axis]) + 0.5) * self.spacing[axis]

    def crop(self, start: tuple[int, int, int], stop: tuple[int, int, int]) -> Grid:
        """Return the sub-grid of voxels ``start`` to ``stop`` (exclusive; may lie outside this grid)."""
        origin = tuple(o + a * s for o, a, s in zip(self.origin, start, self.spacing, strict=True))
        return Grid(origin, self.spacing, tuple(b - a for a, b in zip(start, stop, strict=True)))

    def touched(self, other: Grid, reach: Triple = (0, 0, 0)) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
        """Return the first and the end of the voxels that ``other`` touches, or ``reach`` voxels further."""
        start, stop = [], []
        for axis, (size, step) in enumerate(zip(self.shape, self.spacing, strict=True)):
            low = (other.origin[axis] - self.origin[axis]) / step - reach[axis]
            high = low + other.extent[axis] / step + 2 * reach[axis]
            start.append(min(size, max(0, math.floor(low))))
            stop.append(max(start[-1], min(size, math.ceil(high))))
        return tuple(start), tuple(stop)


def image_grid(shape: tuple[int, int, int], affine: npt.ArrayLike) -> Grid:
    """Return the grid of an image of ``shape`` voxels whose affine (4, 4) gives the spacing."""
    spacing = voxel_spacing(np.asarray(affine, dtype=float))
    return Grid((0.0, 0.0, 0.0), tuple(spacing.tolist()), tuple(int(n) for n in shape))


def grid_affine(affine: np.ndarray, grid: Grid) -> np.ndarray:
    """Return the affine (4, 4) of ``grid``, laid over the image with ``affine``."""
    affine = np.asarray(affine, dtype=float)
    spacing = voxel_spacing(affine)
    out = affine.copy()
    out[:3, :3] = affine[:3, :3] / spacing * np.asarray(grid.spacing)
    first = (np.asarray(grid.origin) + 0.5 * np.asarray(grid.spacing)) / spacing - 0.5
    out[:3, 3] = affine[:3, :3] @ first + affine[:3, 3]
    return out


def resample(
    volume: np.ndarray, source: Grid, target: Grid, mode: str = "linear", values: Callable | None = None
) -> np.ndarray:
    """Return the values of ``volume`` at the voxel centres of ``target``, ``(C, *target.shape)``; zero outside.

    Separable: a weight matrix an axis, slice by slice, so that neither a field of coordinates nor a floating-point copy
    of the volume is held.

    Args:
        volume: (C, D, H, W) on ``source``.
        mode: "linear" (float32 result; averages first where the target is coarser, so that no voxel is skipped) or
            "nearest" (dtype kept, for label maps).
        values: applied to each slice (H, W) before it is interpolated linearly, as to scale HU without a second volume.
    """
    if mode not in ("linear", "nearest"):
        raise ValueError(f"mode must be 'linear' or 'nearest', not {mode!r}")
    volume, source = _crop_to(volume, source, target)
    if 0 in volume.shape:
        return np.zeros((volume.shape[0], *target.shape), np.float32 if mode == "linear" else volume.dtype)
    if mode == "nearest":
        return _nearest(volume, source, target)
    weights = [_weights(source, target, axis) for axis in range(3)]
    out = np.empty((len(volume), *target.shape), np.float32)
    for channel, result in zip(volume, out, strict=True):
        _linear(channel, weights, values, result)
    return out


def _crop_to(volume: np.ndarray, source: Grid, target: Grid) -> tuple[np.ndarray, Grid]:
    """Return only the voxels that ``target`` can touch."""
    reach = tuple(max(1, t / s) + 1 for t, s in zip(target.spacing, source.spacing, strict=True))
    start, stop = source.touched(target, reach)
    return volume[(slice(None), *map(slice, start, stop))], source.crop(start, stop)


def _positions(centres: np.ndarray, origin: float, step: float, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return fractional indices of points (mm) in ``size`` voxels of ``step`` mm, and which of them lie in a voxel."""
    position = (centres - origin) / step - 0.5
    return position, (position >= -0.5 - 1e-6) & (position <= size - 0.5 + 1e-6)


def _nearest(volume: np.ndarray, source: Grid, target: Grid) -> np.ndarray:
    index, kept = [], []
    for axis, size in enumerate(source.shape):
        position, inside = _positions(target.centres(axis), source.origin[axis], source.spacing[axis], size)
        index.append(np.clip(np.floor(position[inside] + 0.5), 0, size - 1).astype(np.intp))
        kept.append(np.flatnonzero(inside))
    out = np.zeros((volume.shape[0], *target.shape), volume.dtype)
    for channel, values in zip(out, volume, strict=True):
        channel[np.ix_(*kept)] = values[np.ix_(*index)]
    return out


def _weights(source: Grid, target: Grid, axis: int) -> np.ndarray:
    """Return what each source voxel adds to each target voxel along ``axis``: (targets, sources) float32.

    Box averages by a whole factor, down to about the target's spacing, and linear interpolation between them.
    """
    size, step = source.shape[axis], source.spacing[axis]
    factor = min(max(1, int(target.spacing[axis] / step + 1e-6)), size)
    blocks = -(-size // factor)
    member = np.arange(blocks * factor)
    average = np.zeros((blocks, size))
    # The last, incomplete block repeats the border voxel instead of mixing in air.
    np.add.at(average, (member // factor, np.minimum(member, size - 1)), 1 / factor)
    position, inside = _positions(target.centres(axis), source.origin[axis], step * factor, blocks)
    clipped = np.clip(position, 0, blocks - 1)
    low = np.minimum(np.floor(clipped), max(blocks - 2, 0)).astype(np.intp)
    share = (clipped - low)[:, None]
    weights = (1 - share) * average[low] + share * average[np.minimum(low + 1, blocks - 1)]
    return (weights * inside[:, None]).astype(np.float32)


def _linear(volume: np.ndarray, weights: list[np.ndarray], values: Callable | None, out: np.ndarray) -> None:
    """Multiply ``volume`` (D, H, W) by the weight matrices of its three axes, into ``out``, contiguous float32."""
    slices, rows, columns = (_bands(matrix) for matrix in weights)
    height, width = len(weights[1]), len(weights[2])
    planes = np.empty((len(volume), height, width), np.float32)
    across, down = np.empty((width, height), np.float32), np.empty((height, volume.shape[2]), np.float32)
    for plane, result in zip(volume, planes, strict=True):
        plane = (values(plane) if values else plane).astype(np.float32, copy=False)
        _multiply(rows, plane, down)
        _multiply(columns, down.T, across)
        result[...] = across.T
    _multiply(slices, planes.reshape(len(planes), -1), out.reshape(len(out), -1))


def _bands(matrix: np.ndarray) -> list[tuple[slice, slice, np.ndarray]]:
    """Return the parts of a weight matrix that are not zero: target rows, source rows, weights."""
    bands = []
    for start in range(0, len(matrix), BAND):
        part = matrix[start : start + BAND]
        used = np.flatnonzero(part.any(axis=0))
        if used.size:
            source = slice(int(used[0]), int(used[-1]) + 1)
            bands.append((slice(start, start + len(part)), source, np.ascontiguousarray(part[:, source])))
        else:
            bands.append((slice(start, start + len(part)), slice(0, 0), part[:, :0]))
    return bands


def _multiply(bands: list[tuple[slice, slice, np.ndarray]], values: np.ndarray, out: np.ndarray) -> None:
    """Multiply the banded matrix with ``values`` (sources, n), into ``out`` (targets, n)."""
    for target, source, weights in bands:
        step = max(1, AT_ONCE // max(1, weights.size))
        for start in range(0, values.shape[1], step):
            part = slice(start, start + step)
            np.matmul(weights, values[source, part], out=out[target, part])
