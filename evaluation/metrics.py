"""What two masks of one organ, or two label maps of one case, have in common. Arrays in, numbers out; no files.

Distances and surface Dice are MONAI's. Checked against shapes whose answers are known on paper
(``tests/evaluation/test_metrics.py``): shifted boxes, parallel plates and balls, with unequal spacings and at the edge
of the volume, all as they should be. Two things are not left to MONAI: empty masks, for which it returns infinity, NaN
or 0 (callers ask only where both masks have voxels), and the crop, without which it takes ten times as long.
"""

from __future__ import annotations

import numpy as np
import torch

from oarseg.errors import ConfigError, GeometryError
from oarseg.geometry.label_map import bounding_box
from oarseg.process import without_warnings

PERCENTILE = 95.0


def dice(a: np.ndarray, b: np.ndarray) -> float:
    """Return ``2 |a and b| / (|a| + |b|)`` of two masks (eq. 2-6); NaN where both are empty."""
    total = int(np.count_nonzero(a)) + int(np.count_nonzero(b))
    return 2 * int(np.count_nonzero(a & b)) / total if total else float("nan")


def surface_scores(
    prediction: np.ndarray, reference: np.ndarray, spacing: np.ndarray, tolerance_mm: float
) -> dict[str, float]:
    """Return ``hd95_mm``, ``msd_mm`` and ``surface_dice`` (0 to 1) of two masks (i, j, k).

    ``spacing``: mm along i, j, k. HD95: the greater of the two directed 95th percentiles. Mean surface distance: over
    the surface voxels of both masks, pooled. Both are between centres of surface voxels (voxels with a face neighbour
    outside). Surface Dice: the share of both surfaces' area that lies within ``tolerance_mm`` of the other, on surface
    elements between voxel centres weighted by their area (Nikolov et al., J. Med. Internet Res. 23, 2021).
    Raises ConfigError where a mask is empty or the tolerance is not a positive number.
    """
    check_tolerance(tolerance_mm)
    if not prediction.any() or not reference.any():
        raise ConfigError("surface distances need two masks with voxels; count an empty one as missed or spurious")
    # MONAI warns of an argument that it gives to itself.
    with without_warnings():
        from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance, compute_surface_dice

        box = bounding_box(prediction | reference)
        pair = [torch.from_numpy(np.ascontiguousarray(m[box]))[None, None] for m in (prediction, reference)]
        shared = {"include_background": True, "spacing": [float(s) for s in spacing]}
        # MONAI rims the crop by one voxel outside, so a mask that touches the edge of the volume has a surface there.
        hd95 = compute_hausdorff_distance(*pair, percentile=PERCENTILE, **shared)
        msd = compute_average_surface_distance(*pair, symmetric=True, **shared)
        # Without subvoxels it would count surface voxels, however large or small their faces are.
        near = compute_surface_dice(*pair, class_thresholds=[tolerance_mm], use_subvoxels=True, **shared)
    return {"hd95_mm": float(hd95), "msd_mm": float(msd), "surface_dice": float(near)}


def check_tolerance(tolerance_mm: float) -> None:
    """Raise ConfigError unless the tolerance is a positive, finite number of mm."""
    if not 0 < tolerance_mm < float("inf"):
        raise ConfigError(f"the surface tolerance is {tolerance_mm} mm, expected a positive number")


def pixel_scores(prediction: np.ndarray, reference: np.ndarray, values: list[int]) -> dict[str, float]:
    """Return the scores of two label maps (i, j, k) over the background and the classes ``values``.

    0 to 1 each (thesis, eqs 2-1 to 2-5; Long et al., CVPR 2015), by the names that ``cases.csv`` has for them. Every
    other value in either map counts as background. With ``p[i, j]`` the voxels of class i that were
    called j, ``p[i, :]`` and ``p[:, i]`` its sums: pixel accuracy = ``sum p[i, i] / sum p``; mean pixel accuracy = mean
    over i of ``p[i, i] / p[i, :]``; mean IoU = mean over i of ``p[i, i] / (p[i, :] + p[:, i] - p[i, i])``;
    frequency-weighted IoU = the IoUs weighted by ``p[i, :]``. A class without a voxel in the reference has no accuracy,
    and one without a voxel in either map no IoU; these are left out of the means.
    Raises GeometryError where the shapes differ.
    """
    table = confusion(prediction, reference, values)
    hit, true, called = np.diag(table), table.sum(axis=1), table.sum(axis=0)
    union = true + called - hit
    accuracy = hit[true > 0] / true[true > 0]
    iou = np.divide(hit, union, out=np.zeros(len(hit)), where=union > 0)
    return {
        "pixel_accuracy": float(hit.sum() / table.sum()),
        "mean_pixel_accuracy": float(accuracy.mean()),
        "mean_iou": float(iou[union > 0].mean()),
        "frequency_weighted_iou": float((true * iou).sum() / table.sum()),
    }


def confusion(prediction: np.ndarray, reference: np.ndarray, values: list[int]) -> np.ndarray:
    """Return voxels by class of the reference (rows) and the prediction (columns); class 0 is background and the rest.

    Raises GeometryError where the shapes differ or there is no voxel.
    """
    if prediction.shape != reference.shape or not prediction.size:
        raise GeometryError(f"the prediction has {prediction.shape} voxels, the reference {reference.shape}")
    box = bounding_box((prediction != 0) | (reference != 0)) or (slice(0, 0),) * 3
    count = len(values) + 1
    # Both maps hold few values: a table turns them into class numbers.
    top = max(int(prediction.max()), int(reference.max()), *values, 0)
    number = np.zeros(top + 1, dtype=np.uint16)
    number[values] = np.arange(1, count)
    inside = number[reference[box]] * count + number[prediction[box]]
    table = np.bincount(inside.ravel(), minlength=count * count).reshape(count, count)
    table[0, 0] += prediction.size - inside.size
    return table
