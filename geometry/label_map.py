"""A label map: integers on voxels, and where the voxels lie; the box of what is not zero."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class LabelMap:
    """``label``: integers (i, j, k); ``affine``: (4, 4), index to RAS mm."""

    label: np.ndarray
    affine: np.ndarray


def bounding_box(mask: np.ndarray) -> tuple[slice, slice, slice] | None:
    """Return the least box of the non-zero voxels, None without any; each axis is searched within the box so far."""
    box: list[slice] = [slice(0, n) for n in mask.shape]
    for axis in range(3):
        others = tuple(i for i in range(3) if i != axis)
        hit = np.flatnonzero(mask[tuple(box)].any(axis=others))
        if not len(hit):
            return None
        box[axis] = slice(int(hit[0]), int(hit[-1]) + 1)
    return box[0], box[1], box[2]
