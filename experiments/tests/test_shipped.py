"""What is told of the shipped system: what stage 2 adds, and every failure by case."""

from __future__ import annotations

import numpy as np
import pytest

from experiments.scores.findings import failure_list, gains
from oarseg.evaluation.cases import score_case
from oarseg.evaluation.scores import write_scores
from oarseg.sites import load_site

SITE = load_site()


@pytest.fixture
def stored(tmp_path, phantom):
    """Seven cases: stage 1 is off by a voxel, both stages are exact, but case "g" lacks its mandible."""
    affine = phantom.lps_affine()
    _, label = phantom.draw(phantom.shape, affine)
    rows = {"stage1": [], "two_stage": []}
    for case in "abcdefg":
        found = label * (label != SITE.values["mandible"]) if case == "g" else label
        for method, drawn in (("stage1", np.roll(label, 1, 0)), ("two_stage", found)):
            rows[method] += score_case(case, drawn, label, affine, ["mandible", "eye_left"], SITE)[0]
    for method, scores in rows.items():
        write_scores(tmp_path / f"{method}.csv", scores)
    return tmp_path


def test_gains_are_paired_differences(stored):
    table = {line.split(" | ")[0].strip("| "): line.split(" | ") for line in gains(stored, SITE).splitlines()[2:]}
    assert set(table) == {"Eye_L", "Bone_Mandible", "mean over organs"}
    eye = table["Eye_L"]
    assert eye[1] == "7" and eye[3] == "1.000"
    assert float(eye[4]) == pytest.approx(1 - float(eye[2]), abs=2e-3)
    assert float(table["Bone_Mandible"][3]) == pytest.approx(6 / 7, abs=1e-3)


def test_failures_name_case_and_organ(stored):
    text = failure_list(stored, SITE)
    assert text.startswith("Of 14 organs in 7 cases 1 were missed, 0 had left and right exchanged")
    assert "- g, Bone_Mandible: missed (reference" in text and "found 0.0 cm3)" in text
    assert text.count("\n- ") == 1


def test_nothing_stored_tells_nothing(tmp_path):
    assert gains(tmp_path, SITE) == "" and failure_list(tmp_path, SITE) == ""
