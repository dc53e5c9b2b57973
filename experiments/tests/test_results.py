"""Stored results become the figures of cards and README, and nothing else does."""

from __future__ import annotations

import pytest

from experiments.scores.tables import METHODS, RESULTS, results_table, validation_summary
from oarseg.errors import ConfigError
from oarseg.evaluation.cases import score_case
from oarseg.evaluation.scores import read_scores, write_scores
from oarseg.evaluation.tables import COVERED
from oarseg.sites import load_site

SITE = load_site()


@pytest.fixture
def stored(tmp_path, phantom):
    """Five cases of two organs: shifted by stage 1, and exact but for one missed mandible by both stages."""
    affine = phantom.lps_affine()
    _, label = phantom.draw(phantom.shape, affine)
    without = label * (label != SITE.values["mandible"])
    rows = {method: [] for method in METHODS}
    for i, case in enumerate("abcde"):
        labelled = ["mandible", "eye_left"] if case == "a" else ["mandible"]
        shifted = label.copy()
        shifted[i + 1 :] = label[: -i - 1]
        for method, found in zip(METHODS, (shifted, without if case == "e" else label), strict=True):
            rows[method] += score_case(case, found, label, affine, labelled, SITE)[0]
    for method in METHODS:
        write_scores(tmp_path / f"{method}.csv", rows[method])
    return tmp_path


def test_summary_of_known_scores(stored):
    two = validation_summary("two_stage", stored)
    mandible = two["mandible"]
    assert (mandible.n, mandible.mean, mandible.lowest, mandible.missed) == (5, pytest.approx(0.8), 0, 1)
    assert mandible.sd == pytest.approx(0.2**0.5) and mandible.low < 0.8 < mandible.high
    assert mandible.hd95.n == 4 and mandible.hd95.mean == 0 and mandible.surface_dice.mean == pytest.approx(0.8)
    assert list(two) == ["eye_left", "mandible"]
    one = validation_summary("stage1", stored)["mandible"]
    assert one.missed == 0 and 0 < one.lowest < one.mean < 1


def test_table_shows_both_methods(stored):
    table = results_table(SITE, stored)
    one = validation_summary("stage1", stored)["mandible"]
    line = next(line for line in table.splitlines() if "Bone_Mandible" in line)
    assert line.startswith(f"| Bone_Mandible | 5 | {one.mean:.3f} ± {one.sd:.3f} | 0.800 ± 0.447 |")
    assert line.endswith("| 0.0 | 0.800 | 0.000 | 1 |")
    # One case: no spread, no interval.
    assert "| Eye_L | 1 | " in table and "| 1.000 | - | 0.0 | 1.000 | 1.000 | 0 |" in table
    assert "| mean over organs | |" in table and "| 0.900 | - |" in table
    # The eye has one case: what is sure of the mean is that of the mandible alone.
    two = validation_summary("two_stage", stored)["mandible"]
    assert f"| {COVERED} | | {one.mean:.3f} | 0.800 | {two.low:.3f} to {two.high:.3f} | 0.0 | 0.800 | | |" in table


def test_figures_follow_the_file(stored):
    before = validation_summary("two_stage", stored)["mandible"].mean
    rows = [r | {"dice": 0.5} for r in read_scores(stored / "two_stage.csv")]
    write_scores(stored / "two_stage.csv", rows)
    assert validation_summary("two_stage", stored)["mandible"].mean == 0.5 != before


def test_no_results_no_figures(tmp_path):
    assert validation_summary("stage1", tmp_path) == {}
    assert "No validation results" in results_table(SITE, tmp_path)
    (tmp_path / "two_stage.csv").write_text("case,organ\n")
    with pytest.raises(ConfigError, match="lacks the columns"):
        results_table(SITE, tmp_path)


def test_the_stored_results_can_be_read():
    for method in METHODS:
        rows = read_scores(RESULTS / f"{method}.csv")
        assert {row["organ"] for row in rows} <= set(SITE.values)
