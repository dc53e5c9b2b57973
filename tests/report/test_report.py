"""Numbers of the report against boxes whose volume and place are known, under affines that permute, flip and turn."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

from oarseg.inference.report.content import computed_by, make_report, measure, summary_lines
from oarseg.sites import load_site

SITE = load_site("head_neck")
# Index (slice, row, column) as DICOM is read: columns to the left (RAS x falls), rows to the back, slices up.
DICOM = np.array([[0.0, 0, -2, 11], [0, -1.5, 0, 22], [3, 0, 0, -33], [0, 0, 0, 1]])


def label_map() -> np.ndarray:
    """(10, 20, 30): left parotid 2 x 4 x 5 voxels at large columns, right parotid 1 x 2 x 3 at small ones."""
    label = np.zeros((10, 20, 30), dtype=np.uint8)
    label[3:5, 6:10, 20:25] = SITE.values["parotid_left"]
    label[4:5, 7:9, 3:6] = SITE.values["parotid_right"]
    return label


def test_volume_centroid_and_box_in_lps_mm():
    found = measure(label_map(), DICOM, SITE)
    assert list(found) == ["parotid_left", "parotid_right"]
    left, right = found["parotid_left"], found["parotid_right"]
    assert (left.voxels, right.voxels) == (40, 6)
    assert left.volume_cm3 == pytest.approx(40 * 9 / 1000) and right.volume_cm3 == pytest.approx(6 * 9 / 1000)
    # LPS = (-RAS x, -RAS y, z): x = 2 column - 11, y = 1.5 row - 22, z = 3 slice - 33.
    assert left.centroid_lps_mm == pytest.approx((2 * 22 - 11, 1.5 * 7.5 - 22, 3 * 3.5 - 33))
    assert left.box_lps_mm[0] == pytest.approx((2 * 19.5 - 11, 1.5 * 5.5 - 22, 3 * 2.5 - 33))
    assert left.box_lps_mm[1] == pytest.approx((2 * 24.5 - 11, 1.5 * 9.5 - 22, 3 * 4.5 - 33))
    assert left.centroid_lps_mm[0] > right.centroid_lps_mm[0]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0), (2, 0, 1)])
@pytest.mark.parametrize("flips", [(), (0,), (1, 2), (0, 1, 2)])
def test_the_same_patient_measures_the_same_however_the_array_lies(order, flips):
    label, affine = label_map(), DICOM.copy()
    for axis in flips:
        label = np.flip(label, axis)
        affine[:3, 3] += affine[:3, axis] * (label.shape[axis] - 1)
        affine[:3, axis] *= -1
    found = measure(label.transpose(order), affine[:, [*order, 3]], SITE)
    for key, expected in measure(label_map(), DICOM, SITE).items():
        assert found[key].volume_cm3 == pytest.approx(expected.volume_cm3)
        assert found[key].centroid_lps_mm == pytest.approx(expected.centroid_lps_mm)
        assert np.allclose(found[key].box_lps_mm, expected.box_lps_mm)


def test_an_oblique_ball():
    c, s = np.cos(0.4), np.sin(0.4)
    affine = np.eye(4)
    affine[:3, :3] = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) * 0.5
    affine[:3, 3] = (5, 6, 7)
    index = np.moveaxis(np.indices((60, 60, 60)), 0, -1)
    label = (np.linalg.norm(index - 30, axis=-1) <= 20).astype(np.uint8)
    found = measure(label, affine, SITE)["brainstem"]
    assert found.volume_cm3 == pytest.approx(4 / 3 * np.pi, rel=0.01)
    centre = affine[:3, :3] @ [30, 30, 30] + affine[:3, 3]
    assert found.centroid_lps_mm == pytest.approx((-centre[0], -centre[1], centre[2]), abs=1e-6)
    # The ball's own 10 mm and no more than a voxel around it: not the larger box of the turned grid.
    assert np.allclose(np.array(found.box_lps_mm) - found.centroid_lps_mm, [[-10] * 3, [10] * 3], atol=0.75)


def test_an_organ_at_the_edge_is_noticed():
    label = label_map()
    assert not measure(label, DICOM, SITE)["parotid_left"].at_border
    label[9, 8, 8] = SITE.values["mandible"]
    assert measure(label, DICOM, SITE)["mandible"].at_border
    assert measure(np.zeros_like(label), DICOM, SITE) == {}


def report(label: np.ndarray) -> dict:
    """A report about ``label`` by a stand-in for the image."""
    weights = {"file": "model.pt", "sha256": "ab", "bundle": "hn_ct_two_stage", "version": "0"}
    computed = {"name": "torch", "precision": "fp32", "networks": "models/model.pt"}
    image = SimpleNamespace(hu=np.zeros((10, 20, 30)), affine=DICOM, kind="DICOM", series="0123", warnings=("odd",))
    return make_report(
        SITE, image, measure(label, DICOM, SITE), {"brainstem": "stage 1 did not find it"},
        organs=["brainstem", "parotid_left", "parotid_right"], warnings=["large", "note"], seconds={"read": 1.23456},
        device="cpu", engine=computed, weights=weights,
    )  # fmt: skip


def test_the_report_says_what_was_found_and_what_was_not():
    made = json.loads(json.dumps(report(label_map())))
    assert list(made["organs"]) == ["brainstem", "parotid_left", "parotid_right"]
    missing, left = made["organs"]["brainstem"], made["organs"]["parotid_left"]
    assert missing == {"name": "Brainstem", "label": 1, "found": False, "reason": "stage 1 did not find it"}
    assert (left["name"], left["label"], left["found"], left["volume_cm3"]) == ("Parotid_L", 7, True, 0.36)
    assert left["centroid_lps_mm"] == [33.0, -10.75, -22.5]
    assert left["box_lps_mm"] == {"min": [28.0, -13.75, -25.5], "max": [38.0, -7.75, -19.5]}
    assert made["warnings"] == ["odd", "large", "note"]
    assert made["input"]["spacing_mm"] == [3.0, 1.5, 2.0] and made["input"]["size_voxels"] == [10, 20, 30]
    assert made["seconds"] == {"read": 1.235} and made["weights"]["sha256"] == "ab"
    assert {"oarseg", "torch", "monai", "numpy", "python"} <= set(made["versions"])
    assert "not a medical device" in made["disclaimer"]


def test_the_summary_has_a_line_an_organ():
    assert computed_by(report(label_map())) == "PyTorch, float32, original networks, on cpu"
    lines = summary_lines(report(label_map()))
    assert len(lines) == 3 and "not found: stage 1" in lines[0] and "0.4 cm3" in lines[1]
