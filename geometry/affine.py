"""What an affine (4, 4) says: spacing, obliqueness, corners, and the step between RAS and LPS millimetres.

An affine takes voxel indices to patient millimetres: RAS as in NIfTI files, LPS as in DICOM. NumPy, and nibabel's
helpers for orientations, which need nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import nibabel as nib
import numpy as np

# Turns RAS into LPS millimetres, and LPS into RAS: it is its own inverse.
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
# Corners of two grids that are one may lie this far apart: NIfTI stores positions in single precision, and programs
# round them. Far below any voxel.
GRID_MM = 0.05
# The angle of the training's random turns: up to here the networks take a CT along its own axes (docs/geometry.md).
OBLIQUE_DEGREES = 5.0


def voxel_spacing(affine: np.ndarray) -> np.ndarray:
    """Return the distance between voxels along each index axis, (3,), mm."""
    return np.linalg.norm(np.asarray(affine, dtype=float)[:3, :3], axis=0)


def corner_points(affine: np.ndarray, low: Sequence[float], high: Sequence[float]) -> np.ndarray:
    """Return where ``affine`` takes the eight corners of the box from index ``low`` to index ``high``, (8, 3)."""
    affine = np.asarray(affine, dtype=float)
    corners = np.array(np.meshgrid(*zip(low, high, strict=True), indexing="ij")).reshape(3, 8)
    return (affine[:3, :3] @ corners + affine[:3, 3:]).T


def corners_apart(shape: tuple[int, int, int], first: np.ndarray, second: np.ndarray) -> float:
    """Return the largest distance along an axis, mm, between the corner voxels of grids with these affines (4, 4)."""
    last = [n - 1 for n in shape]
    return float(np.abs(corner_points(first, (0, 0, 0), last) - corner_points(second, (0, 0, 0), last)).max())


def obliqueness(affine: np.ndarray) -> float:
    """Return the degrees between the patient's axes and the voxel axes nearest to them: the largest of the three."""
    cosines = np.abs(np.asarray(affine, dtype=float)[:3, :3] / voxel_spacing(affine))
    nearest = nib.io_orientation(affine)[:, 0].astype(int)
    return math.degrees(math.acos(min(1.0, float(cosines[nearest, range(3)].min()))))
