"""What a careful reader would notice at once: volumes that no organ has, and left and right exchanged."""

from __future__ import annotations

import numpy as np

from oarseg.sites import Site


def implausibilities(label: np.ndarray, affine: np.ndarray, site: Site) -> list[str]:
    """Warnings about a segmentation; none where everything is plausible.

    Args: ``label`` label values of the table, any axis order; ``affine`` (4, 4) from its voxels to RAS mm.
    """
    voxel_cm3 = abs(np.linalg.det(affine[:3, :3])) / 1000
    counts = np.bincount(label.ravel(), minlength=len(site.organs) + 1)
    warnings, towards_left = [], {}
    for organ in site.organs:
        if not counts[organ.value]:
            continue
        volume, (low, high) = counts[organ.value] * voxel_cm3, organ.volume_cm3
        if not low <= volume <= high:
            warnings.append(
                f"{organ.title}: {volume:.1f} cm3, outside the usual {low:g} to {high:g} cm3; "
                "it may be cut off by the scan, diseased, or wrong"
            )
        if organ.mirror:
            towards_left[organ.key] = -_centroid(label == organ.value, affine)[0]
    for organ in site.organs:
        both = {organ.key, organ.mirror} <= set(towards_left)
        if organ.key.endswith("_left") and both and towards_left[organ.key] <= towards_left[organ.mirror]:
            warnings.append(f"{organ.title} lies to the right of {site.organ(organ.mirror).title}: check both")
    return warnings


def _centroid(mask: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """RAS mm. From sums along axes, which is quick on a large sparse mask."""
    total = mask.sum()
    index = [
        (np.arange(mask.shape[axis]) * mask.sum(axis=tuple(a for a in range(3) if a != axis))).sum() / total
        for axis in range(3)
    ]
    return affine[:3, :3] @ np.array(index) + affine[:3, 3]
