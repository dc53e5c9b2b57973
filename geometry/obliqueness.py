"""How far a grid's axes lie from the patient's. NumPy and nibabel alone."""

from __future__ import annotations

import math

import nibabel as nib
import numpy as np

# The angle of the training's random turns: up to here the networks take a CT along its own axes (docs/geometry.md).
OBLIQUE_DEGREES = 5.0


def obliqueness(affine: np.ndarray) -> float:
    """Degrees between the patient's axes and the voxel axes nearest to them: the largest of the three."""
    matrix = np.asarray(affine, dtype=float)[:3, :3]
    cosines = np.abs(matrix / np.linalg.norm(matrix, axis=0))
    nearest = nib.io_orientation(affine)[:, 0].astype(int)
    return math.degrees(math.acos(min(1.0, float(cosines[nearest, range(3)].min()))))
