"""A label map: integers on voxels, and where the voxels lie."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class LabelMap:
    """``label``: integers (i, j, k); ``affine``: (4, 4), index to RAS mm."""

    label: np.ndarray
    affine: np.ndarray
