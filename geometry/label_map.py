"""A label map: integers on voxels, and where the voxels lie; the box of what is not zero."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class LabelMap:
    """``label``: integers (i, j, k); ``affine``: (4, 4), index to RAS mm."""

    label: np.ndarray
    affine: np.ndarray


Piece = tuple[tuple[slice, ...], np.ndarray]


def painted(
    pieces: Mapping[str, Piece], values: Mapping[str, int], shape: tuple[int, ...]
) -> tuple[np.ndarray, dict[str, int]]:
    """Return one label map (uint8) of several organs, and how many voxels each took from larger ones, by key.

    Where masks overlap, the smaller organ has the voxel: of a large organ little is lost, of a thin one much would be.
    Args: ``pieces``: by key, the box of an organ and its mask within. ``values``: label values by key.
    """
    label, taken = np.zeros(shape, dtype=np.uint8), {}
    sizes = {key: int(np.count_nonzero(mask)) for key, (_, mask) in pieces.items()}
    for key in sorted(pieces, key=lambda k: (-sizes[k], values[k])):
        box, mask = pieces[key]
        taken[key] = int(np.count_nonzero(label[box][mask]))
        label[box][mask] = values[key]
    return label, taken


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
