"""Volume, place and extent of each organ of a label map, and what is implausible about them.

Positions are patient millimetres, LPS as DICOM has them.

>>> measures = measure(label, affine, load_site("head_neck"))      # doctest: +SKIP
>>> measures["eye_left"].volume_cm3, measures["eye_left"].centroid_lps_mm                         # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage

from oarseg.geometry.affine import LPS_TO_RAS
from oarseg.sites import Site


@dataclass(frozen=True)
class Measure:
    """One organ of a label map.

    ``volume_cm3``: voxels times voxel volume. ``centroid_lps_mm``: mean of the voxel centres. ``box_lps_mm``: lowest
    and highest coordinate of the voxels, their full extent included. ``at_border``: touches the edge of the image,
    so that it may be cut off. ``place``: the least box of voxels that holds it.
    """

    voxels: int
    volume_cm3: float
    centroid_lps_mm: tuple[float, float, float]
    box_lps_mm: tuple[tuple[float, float, float], tuple[float, float, float]]
    at_border: bool
    place: tuple[slice, slice, slice] = field(repr=False)


def measure(label: np.ndarray, affine: np.ndarray, site: Site) -> dict[str, Measure]:
    """Measure every organ in ``label`` (i, j, k), label values of ``site``, with ``affine`` (4, 4) to RAS mm.

    Returns by organ key, in order of label value; organs without a voxel are absent.
    """
    boxes = ndimage.find_objects(label, max_label=len(site.organs))
    found = {}
    for organ, box in zip(site.organs, boxes, strict=True):
        if box is not None:
            found[organ.key] = _measure(label[box] == organ.value, box, label.shape, np.asarray(affine, dtype=float))
    return found


def _measure(mask: np.ndarray, box: tuple[slice, slice, slice], shape: tuple[int, ...], affine: np.ndarray) -> Measure:
    index = np.argwhere(mask) + [s.start for s in box]
    affine = LPS_TO_RAS @ affine
    turn = affine[:3, :3]
    points = index @ turn.T + affine[:3, 3]
    # A voxel reaches half a step along each of its three axes, whichever way they point.
    reach = np.abs(turn).sum(axis=1) / 2
    return Measure(
        voxels=len(index),
        volume_cm3=len(index) * abs(float(np.linalg.det(turn))) / 1000,
        centroid_lps_mm=_triple(points.mean(axis=0)),
        box_lps_mm=(_triple(points.min(axis=0) - reach), _triple(points.max(axis=0) + reach)),
        at_border=any(s.start == 0 or s.stop == n for s, n in zip(box, shape, strict=True)),
        place=box,
    )


def _triple(values: np.ndarray) -> tuple[float, float, float]:
    x, y, z = (float(v) for v in values)
    return x, y, z


def implausibilities(measures: Mapping[str, Measure], site: Site) -> list[str]:
    """Return warnings about volumes that no organ has, and about left and right exchanged."""
    warnings = []
    for key, found in measures.items():
        organ = site.organ(key)
        low, high = organ.volume_cm3
        if not low <= found.volume_cm3 <= high:
            warnings.append(
                f"{organ.title}: {found.volume_cm3:.1f} cm3, outside the usual {low:g} to {high:g} cm3; "
                "it may be cut off by the scan, diseased, or wrong"
            )
        twin = measures.get(organ.mirror or "")
        # LPS: x grows towards the patient's left.
        if key.endswith("_left") and twin and found.centroid_lps_mm[0] <= twin.centroid_lps_mm[0]:
            warnings.append(f"{organ.title} lies to the right of {site.organ(organ.mirror).title}: check both")
    return warnings
