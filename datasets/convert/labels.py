"""One label map from the masks of several organs.

Where masks overlap, the smaller organ has the voxel. How many voxels that concerns is counted.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from oarseg.errors import GeometryError, InputError
from oarseg.geometry.label_map import painted
from oarseg.sites import Site


@dataclass(frozen=True, eq=False)
class Labels:
    """``label``: uint8 (i, j, k) of the site's values. ``organs``: keys with a voxel, in the table's order.

    ``overlap_voxels``: taken from a larger organ by a smaller one. ``empty``: keys whose mask held no voxel.
    """

    label: np.ndarray
    organs: tuple[str, ...]
    overlap_voxels: int
    empty: tuple[str, ...]


def merged(masks: Iterable[tuple[str, np.ndarray]], shape: tuple[int, ...], affine: np.ndarray, site: Site) -> Labels:
    """Return one label map of ``masks`` (organ key, bool (i, j, k) of ``shape``), painted the largest first.

    Raises InputError where no organ has a voxel, GeometryError where left and right are exchanged.
    """
    pieces, empty = {}, []
    for key, mask in masks:
        box = ndimage.find_objects(mask.view(np.uint8))
        if not box:
            empty.append(key)
            continue
        pieces[key] = (box[0], mask[box[0]].copy())
    if not pieces:
        raise InputError("no organ of the table has a voxel, so there is nothing to learn from it")
    _check_sides(pieces, affine, site)
    label, taken = painted(pieces, site.values, shape)
    left = {key for key in pieces if (label[pieces[key][0]] == site.values[key]).any()}
    lost = [key for key in pieces if key not in left]
    if lost:
        raise InputError(f"{', '.join(lost)}: wholly covered by other organs; expected masks of different organs")
    return Labels(label, tuple(key for key in site.values if key in left), sum(taken.values()), tuple(empty))


def _check_sides(pieces: dict, affine: np.ndarray, site: Site) -> None:
    """Refuse a left organ that lies to the right of its twin, however the patient lay in the scanner."""
    centres = {}
    for key, (box, mask) in pieces.items():
        index = np.argwhere(mask).mean(axis=0) + [s.start for s in box]
        # RAS: x grows towards the patient's right, so the left organ has the smaller x.
        centres[key] = float(affine[0, :3] @ index + affine[0, 3])
    for key in centres:
        twin = site.organ(key).mirror
        if twin in centres and key.endswith("_left") and centres[key] >= centres[twin]:
            raise GeometryError(
                f"{key} lies {centres[key] - centres[twin]:.0f} mm to the right of {twin}, expected the left: the "
                "labels are exchanged or the image's orientation is wrong; check both with a viewer"
            )
