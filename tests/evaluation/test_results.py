"""Stored results become the figures of cards and README, and nothing else does."""

from __future__ import annotations

import numpy as np
import pytest

from oarseg.evaluation.results import results_table, validation_summary
from oarseg.evaluation.score import FIELDS, dice
from oarseg.sites import load_site


@pytest.fixture
def stored(tmp_path):
    rows = [
        ("a", "stage1", "mandible", 0.6, True),
        ("b", "stage1", "mandible", 0.8, True),
        ("a", "two_stage", "mandible", 0.9, True),
        ("b", "two_stage", "mandible", 0.0, False),
    ]
    path = tmp_path / "results.csv"
    lines = [",".join(FIELDS)] + [f"{c},{m},{o},{d:.4f},{f},1.00,1.00" for c, m, o, d, f in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_summary_of_known_scores(stored):
    one = validation_summary("stage1", stored)["mandible"]
    assert (one.n, one.mean, one.lowest, one.missed) == (2, pytest.approx(0.7), 0.6, 0)
    assert one.sd == pytest.approx(0.2 / 2**0.5)
    assert validation_summary("two_stage", stored)["mandible"].missed == 1


def test_table_shows_both_methods(stored):
    table = results_table(load_site(), stored)
    assert "| Bone_Mandible | 2 | 0.700 ± 0.141 | 0.450 ± 0.636 | 0.000 | 1 |" in table
    assert "| mean over organs | | 0.700 | 0.450 | | |" in table


def test_no_results_no_figures(tmp_path):
    assert validation_summary("stage1", tmp_path / "none.csv") == {}
    assert "No validation results" in results_table(load_site(), tmp_path / "none.csv")


def test_dice_on_paper():
    a, b = np.zeros(10, bool), np.zeros(10, bool)
    a[:4], b[2:8] = True, True
    assert dice(a, b) == pytest.approx(2 * 2 / (4 + 6))
    assert np.isnan(dice(np.zeros(3, bool), np.zeros(3, bool)))
