"""How far apart the corners of two grids of as many voxels lie. NumPy alone."""

from __future__ import annotations

import numpy as np

# Corners of two grids that are one may lie this far apart: NIfTI stores positions in single precision, and programs
# round them. Far below any voxel.
GRID_MM = 0.05


def corners_apart(shape: tuple[int, int, int], first: np.ndarray, second: np.ndarray) -> float:
    """The largest distance along an axis, mm, between the corner voxels of grids with these affines (4, 4)."""
    return float(np.abs(_corners(shape, first) - _corners(shape, second)).max())


def _corners(shape: tuple[int, int, int], affine: np.ndarray) -> np.ndarray:
    """RAS mm of the eight corner voxels, (8, 3)."""
    last = np.array(shape) - 1
    index = np.array([[last[a] * (i >> a & 1) for a in range(3)] for i in range(8)])
    return index @ affine[:3, :3].T + affine[:3, 3]
