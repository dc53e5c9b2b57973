"""Paired differences against ones computed by hand or by scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import wilcoxon

from oarseg.errors import ConfigError, InputError
from oarseg.evaluation.compare import ALL, compare, comparison_csv, comparison_markdown, holm, load, signed_rank
from oarseg.evaluation.scores import write_scores
from oarseg.evaluation.tables import COVERED
from oarseg.sites import load_site

SITE = load_site()
CASES = "abcdefgh"


def row(case: str, organ: str, dice: float, hd95: float | None = 3.0, tolerance: float = 2.0) -> dict:
    return {
        "case": case, "organ": organ, "dice": dice, "surface_dice": dice, "hd95_mm": hd95, "msd_mm": hd95,
        "centroid_mm": hd95, "reference_cm3": 1.0, "predicted_cm3": 1.0, "volume_error_cm3": 0.0,
        "volume_error_percent": 0.0, "status": "ok" if hd95 is not None else "missed", "swapped": False,
        "tolerance_mm": tolerance,
    }  # fmt: skip


@pytest.fixture
def pair() -> tuple[list[dict], list[dict]]:
    rng = np.random.default_rng(2)
    gain = {"mandible": 0.05, "eye_left": 0.0}
    a = [row(case, organ, round(float(rng.uniform(0.5, 0.8)), 4)) for case in CASES for organ in gain]
    b = [row(r["case"], r["organ"], r["dice"] + gain[r["organ"]] * (1 + i / 50)) for i, r in enumerate(a)]
    return a, b


def line(comparison, measure, organ):
    return next(d for d in comparison.differences if (d.measure, d.organ) == (measure, organ))


def test_known_differences(pair):
    a, b = pair
    found = compare(a, b, SITE)
    mandible = line(found, "dice", "mandible")
    change = [y["dice"] - x["dice"] for x, y in zip(a, b, strict=True) if x["organ"] == "mandible"]
    assert mandible.pairs == 8 and mandible.difference == pytest.approx(np.mean(change), abs=1e-6)
    assert mandible.mean_b - mandible.mean_a == pytest.approx(mandible.difference, abs=1e-6)
    assert min(change) < mandible.low < mandible.difference < mandible.high < max(change)
    # All eight better: the least p that eight pairs can have. The eyes are the same, so there is one test to correct.
    assert mandible.p == pytest.approx(2 / 2**8) and mandible.p_holm == mandible.p
    eye = line(found, "dice", "eye_left")
    assert (eye.difference, eye.low, eye.high, eye.p) == (0, 0, 0, None)
    overall = line(found, "dice", ALL)
    assert overall.pairs == 8 and overall.difference == pytest.approx(mandible.difference / 2)
    assert overall.p == pytest.approx(2 / 2**8) and found.notes == ()


def test_an_organ_of_few_pairs_leaves_the_mean_without_an_interval(pair):
    a, b = ([*side, row("a", "brainstem", dice)] for side, dice in zip(pair, (0.2, 0.4), strict=True))
    found = compare(a, b, SITE)
    overall, covered = line(found, "dice", ALL), line(found, "dice", COVERED)
    assert (overall.low, overall.high) == (None, None) and overall.difference > covered.difference
    assert covered.low < covered.difference < covered.high
    assert covered.difference == pytest.approx(line(compare(*pair, SITE), "dice", ALL).difference)
    text = comparison_markdown(found, SITE)
    assert f"| {COVERED} | 8 |" in text and "nor over organs of which one has fewer" in text
    assert not any(d.organ == COVERED for d in compare(*pair, SITE).differences)


def test_the_other_way_round_has_the_other_sign(pair):
    a, b = pair
    there, back = (line(compare(*sides, SITE), "dice", "mandible") for sides in ((a, b), (b, a)))
    assert back.difference == pytest.approx(-there.difference)
    assert (back.low, back.high) == (pytest.approx(-there.high), pytest.approx(-there.low)) and back.p == there.p


def test_pairs_in_common_only(pair):
    a, b = pair
    found = compare(a, b[4:] + [row("z", "mandible", 0.9)], SITE)
    assert line(found, "dice", "mandible").pairs == 6
    assert "4 of 16 scores of A" in found.notes[0] and "1 of 13 scores of B" in found.notes[1]
    with pytest.raises(ConfigError, match="in common"):
        compare(a, [row("z", "mandible", 0.9)], SITE)


def test_blank_distances_are_left_out_and_told(pair):
    a, b = pair
    b[0] = row("a", "mandible", 0.0, None)
    found = compare(a, b, SITE)
    assert line(found, "dice", "mandible").pairs == 8 and line(found, "hd95_mm", "mandible").pairs == 7
    assert any("HD95" in note and "1 pair(s)" in note for note in found.notes)


def test_surface_dice_with_other_tolerances_is_not_compared(pair):
    a, b = pair
    found = compare(a, [r | {"tolerance_mm": 3.0} for r in b], SITE)
    assert not [d for d in found.differences if d.measure == "surface_dice"] and "tolerances" in found.notes[0]


def test_the_test_is_wilcoxons():
    change = np.array([0.1, -0.2, 0.3, 0.4, 0.5, 0.6, -0.05])
    assert signed_rank(change) == pytest.approx(wilcoxon(change).pvalue)
    assert signed_rank(np.array([0.1, 0.2, 0.3, 0.4, 0.5])) is None
    assert signed_rank(np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.0])) is None
    assert signed_rank(np.zeros(20)) is None


def test_holm_on_paper():
    assert holm([0.01, 0.04, None, 0.03]) == pytest.approx([0.03, 0.06, None, 0.06], nan_ok=True)
    assert holm([0.6, 0.7]) == [1.0, 1.0] and holm([]) == [] and holm([None]) == [None]


def test_tables(pair, tmp_path):
    found = compare(*pair, SITE)
    text = comparison_markdown(found, SITE)
    assert "| Bone_Mandible | 8 |" in text and "| 0.0078 | 0.0078 |" in text
    assert "| Eye_L | 8 |" in text and "| +0.000 | +0.000 to +0.000 | - | - |" in text
    lines = comparison_csv(found).splitlines()
    assert lines[0].startswith("measure,organ,pairs") and len(lines) == 1 + 4 * 3


def test_folders_and_files_are_loaded(pair, tmp_path):
    write_scores(tmp_path / "scores.csv", pair[0])
    assert load(tmp_path) == load(tmp_path / "scores.csv") == pair[0]
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no scores.csv"):
        load(tmp_path / "empty")
