"""The report says what is stored: means, paired differences, order against the published, cost; and it is current."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from experiments.ablation.page import REPORT, report
from experiments.ablation.plan import RESULTS, Plan, Row, Table, Training, load_plan
from experiments.ablation.run import done, main
from experiments.ablation.stored import core_seconds, difference, exchanged, orders, read_stored, well_covered
from oarseg.errors import ConfigError
from oarseg.evaluation.scores import FIELDS, read_scores, write_scores
from oarseg.sites import load_site

CASES = ("a", "b", "c", "d", "e")


def score(case: str, organ: str, dice: float) -> dict:
    row = dict.fromkeys(FIELDS)
    row |= {"case": case, "organ": organ, "dice": dice, "surface_dice": dice, "tolerance_mm": 2.0, "swapped": False}
    return row | {"status": "ok" if dice else "missed", "reference_cm3": 1.0, "predicted_cm3": 1.0}


def store(folder: Path, name: str, dice: dict[str, float], localizer: str | None = None, **facts: object) -> None:
    """Scores of five cases around the given means, and the facts of one training."""
    folder.mkdir(parents=True, exist_ok=True)
    spread = (-0.02, -0.01, 0.0, 0.01, 0.02)
    rows = [score(c, o, round(d + s, 4)) for c, s in zip(CASES, spread, strict=True) for o, d in dice.items()]
    write_scores(folder / f"{name}.csv", rows)
    training = {"bundle": "b", "command": f"python train {name}", "overrides": {}, "recipe": "r1", "steps": 10}
    training |= {"core_seconds": 60.0, "seconds": 70.0, "final_loss": 0.5, "parameters": 1_000_000} | facts
    content = {"name": name, "localizer": localizer, "trainings": {"eye_left" if localizer else "localizer": training}}
    (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")


def plan(published: dict, equal: bool = False) -> Plan:
    training = {"localizer": Training("x", "hn_ct_localizer", {})}
    rows = {name: Row(name, name.upper(), training) for name in ("one", "two", "three")}
    rows["both"] = Row("both", "BOTH", {"eye_left": Training("y", "eye_left_ct_segmentation", {})}, "one")
    columns = {name: name if name in published else None for name in ("one", "two", "three")}
    tables = [Table("t", "Numbers", columns, "one")]
    if equal:
        tables = [Table("t", "Numbers", columns | {"both": None}, "both", equal_cost=True)]
    budget = {"crop": [48, 80, 64], "batch_size": 1, "learning_rate": 0.001, "steps": 10}
    return Plan(rows, published, tuple(tables), budget)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    folder = tmp_path / "results" / "ablations"
    store(folder, "one", {"brainstem": 0.6, "mandible": 0.8})
    store(folder, "two", {"brainstem": 0.5, "mandible": 0.7}, core_seconds=300.0)
    return folder


def test_means_and_differences(results: Path) -> None:
    text = report(plan({"one": {"brainstem": 0.9, "mandible": 0.7}}), results)
    line = next(line for line in text.splitlines() if line.startswith("| `one` | ONE"))
    assert "| 0.700 (0.800), 0." in line
    assert "| 0.600 (0.900) | 0.800 (0.700) |" in line
    other = next(line for line in text.splitlines() if line.startswith("| `two` | TWO"))
    assert "| 0.600, 0." in other
    assert "-0.100 (-0.100 to -0.100)" in other, "every case and organ is 0.1 lower: no doubt is left"
    assert "| cases |  |  |  |  |  | 5 | 5 |" in text
    assert "Not run yet: three." in text


def test_difference_pairs_cases_and_organs(results: Path) -> None:
    store(results, "three", {"brainstem": 0.7, "parotid_left": 0.1})
    stored = read_stored(plan({}), results, load_site())
    assert difference(stored["three"], stored["one"]).mean == pytest.approx(0.1), "the parotid is in one of them only"
    assert difference(stored["three"], stored["one"]).organs == 1


def test_order_is_compared_with_the_published(results: Path) -> None:
    same = plan({"one": {"brainstem": 0.6}, "two": {"brainstem": 0.4}})
    expected = "Order by the mean of all organs, best first: `one`, `two` here, `one`, `two` in the thesis. The same."
    assert expected in report(same, results)
    turned = plan({"one": {"brainstem": 0.4}, "two": {"brainstem": 0.6}})
    text = report(turned, results)
    assert "`one`, `two` here, `two`, `one` in the thesis. **Different**: `one` is above `two` here" in text
    assert "beyond the chance of these cases" in text
    assert orders(turned.tables[0], turned, read_stored(turned, results, load_site())) == (
        ["one", "two"],
        ["two", "one"],
    )


def test_organs_of_few_cases_are_also_left_out(results: Path) -> None:
    """An organ that one case labels turns the mean of all organs, and not that of the well covered ones."""
    for name, dice in (("one", 0.1), ("two", 0.9)):
        rows = read_scores(results / f"{name}.csv")
        write_scores(results / f"{name}.csv", [*rows, score("a", "eye_left", dice)])
    chosen = plan({"one": {"brainstem": 0.6, "eye_left": 0.6}, "two": {"brainstem": 0.5, "eye_left": 0.5}})
    stored = read_stored(chosen, results, load_site())
    assert well_covered(stored) == ["brainstem", "mandible"]
    assert orders(chosen.tables[0], chosen, stored) == (["two", "one"], ["one", "two"])
    assert orders(chosen.tables[0], chosen, stored, well_covered(stored)) == (["one", "two"], ["one", "two"])
    assert stored["one"].mean(["brainstem"]).mean == pytest.approx(0.6)
    text = report(chosen, results)
    assert "mean of the 2 with 4 cases or more" in text
    assert "`two` is above `one` here" in text
    assert "Order by the mean of the organs with 4 cases or more, best first: `one`, `two` here" in text


def test_exchanged_pairs() -> None:
    assert exchanged(["a", "b", "c"], ["a", "b", "c"]) == []
    assert exchanged(["a", "b", "c"], ["c", "a", "b"]) == [("a", "c"), ("b", "c")]


def test_cost_counts_the_first_stage(results: Path) -> None:
    store(results, "both", {"brainstem": 0.6, "mandible": 0.8}, localizer="one", core_seconds=200.0)
    store(results, "three", {"brainstem": 0.6, "mandible": 0.8}, core_seconds=260.0)
    chosen = plan({}, equal=True)
    assert core_seconds("both", read_stored(chosen, results, load_site())) == 260
    text = report(chosen, results)
    assert "| `both` | 10 + 10 | 4.3 | - | 2.00 M |" in text
    assert "Core minutes against those of `both`: `two` +15%, `three` +0%." in text
    assert "More than 10% off, so not of equal cost: `two`." in text
    store(results, "one", {"brainstem": 0.6, "mandible": 0.8}, core_seconds=None)
    assert core_seconds("both", read_stored(chosen, results, load_site())) is None
    assert "| `both` | 10 + 10 | - | - | 2.00 M |" in report(chosen, results)


def test_mixed_recipes_are_told(results: Path) -> None:
    assert "versions of the bundle's config" not in report(plan({}), results)
    store(results, "two", {"brainstem": 0.5}, recipe="r2")
    assert "trained with 2 versions of the bundle's config" in report(plan({}), results)


def test_measured_figures(results: Path) -> None:
    one = {"parameters": 3_157_185, "tflop": 0.7712, "seconds": 2.5, "ratio": 1.0, "peak_gib": 1.1}
    content = {"size": [72, 208, 208], "reference": "one", "repeats": 5, "threads": 1, "precision": "bfloat16"}
    (results / "measured.json").write_text(json.dumps(content | {"networks": {"one": one}}), encoding="utf-8")
    text = report(plan({}), results)
    assert "72 x 208 x 208 voxels" in text
    assert "| `one` | ONE | 3.16 M | 0.771 | 2.50 | 1.00 | 1.10 |" in text
    (results / "measured.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"measured.json is malformed: KeyError\('networks'\)"):
        report(plan({}), results)


def test_damaged_facts(results: Path) -> None:
    (results / "one.json").write_text('{"trainings": {"localizer": {}}}', encoding="utf-8")
    with pytest.raises(ConfigError, match="one.json is no record of a training"):
        report(plan({}), results)


def test_check_tells_drift(results: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "results.md"
    words = ["table", "--results", str(results), "--out", str(out)]
    assert main([*words, "--check"]) == 1
    assert not out.exists()
    assert main(words) == 0
    assert main([*words, "--check"]) == 0
    out.write_text(out.read_text(encoding="utf-8").replace("Results", "results"), encoding="utf-8")
    assert main([*words, "--check"]) == 1
    assert "out of date; run: python -m experiments.ablation.run table" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.skipif(not REPORT.is_file(), reason="the installed package has no docs")
def test_the_projects_report_is_current() -> None:
    assert REPORT.read_text(encoding="utf-8") == report(load_plan(), RESULTS)


def test_every_stored_row_is_the_plan_s() -> None:
    """A row whose settings are no longer the plan's would be trained again."""
    rows = load_plan().rows.values()
    assert [row.name for row in rows if (RESULTS / f"{row.name}.json").is_file() and not done(row, RESULTS)] == []
