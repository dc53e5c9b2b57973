"""Means, spreads and intervals against ones computed by hand or by scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import bootstrap

from oarseg.evaluation.summary import LEAST_CASES, describe, interval, mean_over_organs, summarize
from oarseg.sites import load_site

SITE = load_site()


def row(case: str, organ: str, dice: float | None, status: str = "ok", swapped: bool = False) -> dict:
    distance = 1 - dice if status == "ok" else None
    figures = dict.fromkeys(("hd95_mm", "msd_mm", "centroid_mm"), distance)
    volumes = dict.fromkeys(("volume_error_cm3", "volume_error_percent"), 0.5)
    same = {"dice": dice, "surface_dice": dice}
    return {"case": case, "organ": organ, "status": status, "swapped": swapped} | same | figures | volumes


def test_an_organ_of_known_scores():
    rows = [row("a", "mandible", 0.6), row("b", "mandible", 0.8), row("c", "mandible", 0.0, "missed")]
    rows += [row("d", "mandible", None, "absent"), row("e", "mandible", 0.0, "spurious", swapped=True)]
    summary = summarize(rows, SITE)
    organ = summary.organs["mandible"]
    assert (organ.n, organ.missed, organ.spurious, organ.absent, organ.swapped) == (4, 1, 1, 1, 1)
    assert organ.dice.mean == pytest.approx(0.35) and organ.dice.median == pytest.approx(0.3)
    assert organ.dice.sd == pytest.approx(np.std([0.6, 0.8, 0, 0], ddof=1))
    hd95 = organ.stats["hd95_mm"]
    # Missed and spurious organs have no distance: neither infinity nor zero is averaged.
    assert (hd95.n, hd95.left_out) == (2, 2) and hd95.mean == pytest.approx(0.3)
    assert hd95.low is None and organ.dice.low is not None
    assert summary.cases == 5


def test_organs_come_in_the_order_of_the_table():
    rows = [row("a", key, 0.5) for key in ("stranger", "parotid_right", "brainstem", "eye_left")]
    assert list(summarize(rows, SITE).organs) == ["brainstem", "eye_left", "parotid_right", "stranger"]


def test_one_case_has_no_spread_and_no_case_no_figure():
    one = describe([0.7])
    assert (one.n, one.mean, one.sd, one.low, one.high) == (1, 0.7, None, None, None)
    assert describe([None, None]) is None and describe([]) is None
    assert summarize([], SITE).mean["dice"] is None


def test_the_interval_is_the_percentile_bootstrap():
    values = np.random.default_rng(5).beta(8, 2, size=16)
    low, high = interval(values[:, None])
    reference = bootstrap((values,), np.mean, method="percentile", n_resamples=10_000, rng=np.random.default_rng(1))
    assert (low, high) == pytest.approx(reference.confidence_interval, abs=0.004)
    assert interval(values[:, None]) == (low, high)
    assert interval(np.full((9, 2), 0.5)) == (0.5, 0.5)
    assert interval(values[:3, None]) == (None, None)


def test_the_mean_over_organs_weighs_organs_alike():
    rows = [row(case, "mandible", 0.9) for case in "abcdef"] + [row("a", "eye_left", 0.5)]
    found = mean_over_organs(rows)
    assert (found.organs, found.mean) == (2, pytest.approx(0.7))
    # How sure the eye's score is nobody can tell from one case, so nor of the mean.
    assert (found.low, found.high) == (None, None)
    covered = mean_over_organs(rows, least=LEAST_CASES)
    assert (covered.organs, covered.mean, covered.low) == (1, pytest.approx(0.9), pytest.approx(0.9))
    assert mean_over_organs(rows[-1:], least=LEAST_CASES) is None


def test_an_organ_of_few_cases_does_not_come_and_go_with_the_resamples():
    rows = [row(case, "mandible", 0.9) for case in "abcdefgh"] + [row(case, "eye_left", 0.5) for case in "abcd"]
    found = mean_over_organs(rows)
    assert (found.low, found.high) == (pytest.approx(0.7), pytest.approx(0.7))
    assert mean_over_organs(rows[:-1]).low is None


def test_cases_are_resampled_and_not_organs():
    values = [0.2, 0.4, 0.5, 0.7, 0.8, 0.9]
    one = [row(str(i), "mandible", v) for i, v in enumerate(values)]
    # A second organ that says the same of each case makes nothing surer.
    two = one + [row(str(i), "brainstem", v) for i, v in enumerate(values)]
    assert mean_over_organs(two).low == pytest.approx(mean_over_organs(one).low)
    opposite = one + [row(str(i), "brainstem", 1 - v) for i, v in enumerate(values)]
    assert mean_over_organs(opposite).high - mean_over_organs(opposite).low < 1e-9
