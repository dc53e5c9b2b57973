"""Scores of shapes whose answers are known on paper."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from oarseg.errors import ConfigError, GeometryError
from oarseg.evaluation.metrics import confusion, dice, pixel_scores, surface_scores

SPACING = np.array([3.0, 1.0, 2.0])


def box(low: tuple[int, int, int], high: tuple[int, int, int], shape=(30, 30, 30)) -> np.ndarray:
    mask = np.zeros(shape, dtype=bool)
    mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = True
    return mask


def ball(radius_mm: float, centre_mm: np.ndarray, spacing: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    mm = np.moveaxis(np.indices(shape), 0, -1) * spacing
    return np.linalg.norm(mm - centre_mm, axis=-1) <= radius_mm


def test_dice_on_paper():
    a, b = np.zeros(10, bool), np.zeros(10, bool)
    a[:4], b[2:8] = True, True
    assert dice(a, b) == pytest.approx(2 * 2 / (4 + 6))
    assert np.isnan(dice(np.zeros(3, bool), np.zeros(3, bool)))


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("steps", [1, 3])
def test_a_shifted_box(axis, steps):
    a = box((5, 5, 5), (15, 15, 15))
    b = np.roll(a, steps, axis)
    found = surface_scores(b, a, SPACING, tolerance_mm=2.0)
    # Face on face: more than 5 % of each surface lies the whole shift away, and nothing lies further.
    assert found["hd95_mm"] == pytest.approx(steps * SPACING[axis])
    assert 0 < found["msd_mm"] < steps * SPACING[axis]
    assert dice(a, b) == pytest.approx((10 - steps) / 10)
    assert surface_scores(b, a, SPACING, tolerance_mm=steps * SPACING[axis])["surface_dice"] == pytest.approx(1)
    # Just below the shift the outer faces fall out, and of the inner ones what is further from the sides.
    tolerance = steps * SPACING[axis] - 0.01
    extent = 10 * SPACING
    area = 2 * (extent[0] * extent[1] + extent[0] * extent[2] + extent[1] * extent[2])
    sides = np.delete(extent, axis)
    out = np.prod(sides) + np.prod(np.maximum(sides - 2 * tolerance, 0))
    # The inner part is counted in whole voxels, and edges are bevelled between voxel centres.
    below = surface_scores(b, a, SPACING, tolerance)["surface_dice"]
    assert below == pytest.approx(1 - out / area, abs=0.05)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_parallel_plates(axis):
    low, high = [4, 4, 4], [20, 20, 20]
    low[axis], high[axis] = 6, 7
    a = box(tuple(low), tuple(high))
    b = np.roll(a, 4, axis)
    found = surface_scores(a, b, SPACING, tolerance_mm=1.0)
    # Every surface voxel of one plate faces one of the other.
    assert found["hd95_mm"] == found["msd_mm"] == pytest.approx(4 * SPACING[axis])
    assert found["surface_dice"] == 0


def test_concentric_balls():
    spacing, shape = np.array([1.0, 0.5, 0.8]), (50, 100, 64)
    centre = (np.array(shape) - 1) / 2 * spacing
    inner, outer = (ball(r, centre, spacing, shape) for r in (12.0, 16.0))
    found = surface_scores(inner, outer, spacing, tolerance_mm=2.0)
    assert found["msd_mm"] == pytest.approx(4, abs=0.3) and found["hd95_mm"] == pytest.approx(4, abs=0.5)
    assert found["surface_dice"] == 0
    assert surface_scores(inner, outer, spacing, tolerance_mm=5.0)["surface_dice"] == pytest.approx(1)
    assert dice(inner, outer) == pytest.approx(2 * 12**3 / (12**3 + 16**3), rel=0.01)
    assert np.prod(spacing) * inner.sum() == pytest.approx(4 / 3 * np.pi * 12**3, rel=0.01)


def test_distances_agree_with_a_distance_transform():
    rng = np.random.default_rng(3)
    blobs = [ndimage.gaussian_filter(rng.normal(size=(24, 30, 26)), 3) > 0.01 for _ in range(2)]
    found = surface_scores(*blobs, SPACING, tolerance_mm=2.0)
    edges = [b & ~ndimage.binary_erosion(b) for b in blobs]
    directed = [
        ndimage.distance_transform_edt(~edges[1 - i], sampling=SPACING)[edges[i]] for i in range(2)
    ]
    assert found["hd95_mm"] == pytest.approx(max(np.percentile(d, 95) for d in directed), abs=1e-4)
    assert found["msd_mm"] == pytest.approx(np.concatenate(directed).mean(), abs=1e-4)


def test_surface_scores_are_symmetric_and_do_not_depend_on_the_volume_around():
    a, b = box((5, 5, 5), (15, 12, 15)), box((6, 4, 5), (13, 15, 19))
    found = surface_scores(a, b, SPACING, 2.0)
    assert surface_scores(b, a, SPACING, 2.0) == found
    cut = (slice(5, 15), slice(4, 15), slice(5, 19))
    assert surface_scores(a[cut], b[cut], SPACING, 2.0) == found
    same = surface_scores(a, a, SPACING, 2.0)
    assert (same["hd95_mm"], same["msd_mm"], same["surface_dice"]) == (0, 0, 1)


def test_empty_masks_and_bad_tolerances_are_refused():
    a, none = box((5, 5, 5), (9, 9, 9)), np.zeros((30, 30, 30), bool)
    for pair in ((a, none), (none, a), (none, none)):
        with pytest.raises(ConfigError, match="missed or spurious"):
            surface_scores(*pair, SPACING, 2.0)
    for tolerance in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match="tolerance"):
            surface_scores(a, a, SPACING, tolerance)


def test_pixel_scores_on_paper():
    # Rows: reference, columns: prediction. Value 5 is no class here and counts as background.
    reference = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, 5], dtype=np.uint8).reshape(1, 2, 5)
    prediction = np.array([0, 0, 0, 1, 1, 1, 2, 2, 5, 5], dtype=np.uint8).reshape(1, 2, 5)
    assert confusion(prediction, reference, [1, 2]).tolist() == [[4, 1, 0], [0, 2, 1], [1, 0, 1]]
    found = pixel_scores(prediction, reference, [1, 2])
    iou = [4 / 6, 2 / 4, 1 / 3]
    assert found["pixel_accuracy"] == pytest.approx(7 / 10)
    assert found["mean_pixel_accuracy"] == pytest.approx((4 / 5 + 2 / 3 + 1 / 2) / 3)
    assert found["mean_iou"] == pytest.approx(sum(iou) / 3)
    assert found["frequency_weighted_iou"] == pytest.approx((5 * iou[0] + 3 * iou[1] + 2 * iou[2]) / 10)


def test_classes_without_voxels_are_left_out_of_the_means():
    reference, prediction = np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8)
    empty = pixel_scores(prediction, reference, [1, 2])
    assert (empty["pixel_accuracy"], empty["mean_pixel_accuracy"], empty["mean_iou"]) == (1, 1, 1)
    prediction[0, 0, 0] = 2
    spurious = pixel_scores(prediction, reference, [1, 2])
    assert spurious["mean_pixel_accuracy"] == pytest.approx(63 / 64)
    assert spurious["mean_iou"] == pytest.approx((63 / 64 + 0) / 2)
    assert spurious["frequency_weighted_iou"] == pytest.approx(63 / 64)


def test_label_maps_of_other_shapes_are_refused():
    with pytest.raises(GeometryError, match="voxels"):
        pixel_scores(np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 5), np.uint8), [1])
