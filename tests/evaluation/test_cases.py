"""One case: what is scored, how missing, spurious and exchanged organs count, under any affine."""

from __future__ import annotations

import numpy as np
import pytest

from oarseg.errors import ConfigError, GeometryError
from oarseg.evaluation.cases import score_case
from oarseg.evaluation.scores import CASE_FIELDS, FIELDS
from oarseg.sites import load_site

SITE = load_site()
CLINICAL = ("brainstem", "mandible", "parotid_left", "parotid_right")
V = SITE.values


@pytest.fixture
def patient(phantom):
    affine = phantom.lps_affine((2.5, 3, 3.5))
    _, label = phantom.draw(phantom.shape, affine)
    return label, affine


def scored(prediction, reference, affine, labelled=CLINICAL) -> dict[str, dict]:
    rows, _ = score_case("a", prediction, reference, affine, labelled, SITE)
    assert all(tuple(sorted(row)) == tuple(sorted(FIELDS)) for row in rows)
    return {row["organ"]: row for row in rows}


def test_a_perfect_prediction(patient):
    label, affine = patient
    rows, case = score_case("a", label, label, affine, CLINICAL, SITE)
    assert [row["organ"] for row in rows] == list(CLINICAL)
    for row in rows:
        assert (row["dice"], row["surface_dice"], row["hd95_mm"], row["centroid_mm"]) == (1, 1, 0, 0)
        assert (row["status"], row["swapped"], row["volume_error_percent"]) == ("ok", False, 0)
        voxels = (label == V[row["organ"]]).sum()
        assert row["reference_cm3"] == pytest.approx(voxels * 2.5 * 3 * 3.5 / 1000, abs=1e-4)
    assert set(case) == set(CASE_FIELDS) and case["classes"] == 5 and case["mean_iou"] == 1
    # The eyes are in both maps, but nobody vouches for the reference's.
    assert case["not_judged"] == "eye_left eye_right optic_nerve_left optic_nerve_right"


def test_a_shift_is_measured_in_millimetres_along_its_axis(patient):
    label, affine = patient
    for axis, mm in enumerate((2.5, 3, 3.5)):
        row = scored(np.roll(label, 2, axis), label, affine)["mandible"]
        assert row["centroid_mm"] == pytest.approx(2 * mm, abs=1e-3)
        assert 0 < row["hd95_mm"] <= 2 * mm + 1e-3
    box = np.zeros_like(label)
    box[20:40, 20:40, 20:40] = V["mandible"]
    row = scored(np.roll(box, 2, 2), box, affine, ["mandible"])["mandible"]
    assert row["hd95_mm"] == 7 and row["dice"] == 0.9


def test_missed_spurious_and_absent_organs(patient):
    label, affine = patient
    without = np.where(label == V["brainstem"], 0, label)
    missed = scored(without, label, affine)["brainstem"]
    assert (missed["status"], missed["dice"], missed["surface_dice"]) == ("missed", 0, 0)
    assert missed["hd95_mm"] is missed["msd_mm"] is missed["centroid_mm"] is None
    assert missed["volume_error_percent"] == -100 and missed["volume_error_cm3"] == -missed["reference_cm3"]

    spurious = scored(label, without, affine)["brainstem"]
    assert (spurious["status"], spurious["dice"], spurious["surface_dice"]) == ("spurious", 0, 0)
    assert spurious["hd95_mm"] is spurious["volume_error_percent"] is None and spurious["volume_error_cm3"] > 0

    absent = scored(without, without, affine)["brainstem"]
    assert absent["status"] == "absent" and absent["dice"] is None and absent["volume_error_cm3"] == 0


def test_unlabelled_organs_do_not_score_and_count_as_background(patient):
    label, affine = patient
    reference = np.where(np.isin(label, [V[key] for key in CLINICAL]), label, 0)
    rows, case = score_case("a", label, reference, affine, CLINICAL, SITE)
    assert len(rows) == 4 and case["pixel_accuracy"] == 1 and case["frequency_weighted_iou"] == 1


def exchanged(label: np.ndarray) -> np.ndarray:
    out = label.copy()
    for a, b in SITE.mirror_pairs:
        out[label == a], out[label == b] = b, a
    return out


def test_left_and_right_exchanged(patient):
    label, affine = patient
    rows = scored(exchanged(label), label, affine, list(V))
    assert {key for key, row in rows.items() if row["swapped"]} == set(V) - {"brainstem", "mandible"}
    assert not any(row["swapped"] for row in scored(label, label, affine, list(V)).values())
    # One side alone, touching neither reference: near the wrong one.
    moved = np.zeros_like(label)
    high = np.argwhere(label == V["parotid_right"]).min(axis=0)
    low = high - [0, 0, 4]
    moved[tuple(slice(a, a + 3) for a in low)] = V["parotid_left"]
    moved[label > 0] = 0
    assert moved.any() and scored(moved, label, affine)["parotid_left"]["swapped"]
    # Without the twin in the reference nobody can tell.
    assert not scored(moved, label, affine, ["parotid_left"])["parotid_left"]["swapped"]
    # Where the reference has no left one, what lies on its right one is exchanged all the same.
    right_only = np.where(label == V["parotid_left"], 0, label)
    row = scored(exchanged(right_only), right_only, affine)["parotid_left"]
    assert row["status"] == "spurious" and row["swapped"]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
@pytest.mark.parametrize("flips", [(), (0,), (1, 2)])
def test_scores_do_not_depend_on_how_the_array_lies(order, flips, patient):
    label, affine = patient
    prediction = np.roll(exchanged(label), (1, 2, 0), (0, 1, 2))
    expected = scored(prediction, label, affine)
    for axis in flips:
        label, prediction = np.flip(label, axis), np.flip(prediction, axis)
        affine = affine.copy()
        affine[:3, 3] += affine[:3, axis] * (label.shape[axis] - 1)
        affine[:3, axis] *= -1
    turned = affine[:, [*order, 3]]
    found = scored(prediction.transpose(order), label.transpose(order), turned)
    for key, row in expected.items():
        for name, value in row.items():
            assert found[key][name] == (pytest.approx(value, abs=2e-4) if isinstance(value, float) else value), name


def test_what_cannot_be_scored_is_refused(patient):
    label, affine = patient
    with pytest.raises(GeometryError, match="a: the prediction has"):
        score_case("a", label[1:], label, affine, CLINICAL, SITE)
    with pytest.raises(GeometryError, match="right angle|affine|shear"):
        score_case("a", label, label, affine + np.eye(4)[[1, 0, 2, 3]], CLINICAL, SITE)
    with pytest.raises(ConfigError, match="values from 0 to 9"):
        score_case("a", np.where(label == 1, 9, label), label, affine, CLINICAL, SITE)
    with pytest.raises(ConfigError, match="values from -1"):
        score_case("a", label.astype(np.int16) - 1, label, affine, CLINICAL, SITE)
    with pytest.raises(ConfigError, match="integers"):
        score_case("a", label.astype(float), label, affine, CLINICAL, SITE)
    with pytest.raises(ConfigError, match="labels no organ"):
        score_case("a", label, label, affine, [], SITE)
    with pytest.raises(ConfigError, match="heart"):
        score_case("a", label, label, affine, ["heart"], SITE)
