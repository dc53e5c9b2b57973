"""The scores that ship with oarseg are those of the stored results."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from experiments.scores import facts
from experiments.scores.tables import RESULTS
from oarseg.bundles.facts import FACTS, Score

STORED = json.loads(FACTS.read_text(encoding="utf-8"))


def test_the_stored_facts_agree_with_the_results(capsys: pytest.CaptureFixture) -> None:
    assert facts.with_scores(STORED) == STORED, "run: python -m experiments.scores.facts"
    assert facts.main(["--check"]) == 0
    assert set(STORED["scores"]) == {"stage1", "two_stage"} and Score(**STORED["scores"]["two_stage"]["mandible"])


def test_other_results_give_other_facts(tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch) -> None:
    for name in ("stage1.csv", "two_stage.csv"):
        shutil.copy(RESULTS / name, tmp_path)
    table = tmp_path / "two_stage.csv"
    text = table.read_text(encoding="utf-8").replace("brainstem,0.8563", "brainstem,0.0563")
    table.write_text(text, encoding="utf-8")
    new = facts.with_scores(STORED, tmp_path)
    assert new["scores"]["two_stage"]["brainstem"]["lowest"] == 0.0563
    assert new["scores"]["stage1"] == STORED["scores"]["stage1"] and new["weights"] == STORED["weights"]
    assert "| 0.056 |" in "\n".join(new["results_table"])
    # Written from an older state, the file is what is stored now.
    old = tmp_path / "shipped.json"
    old.write_text(json.dumps(new), encoding="utf-8")
    readme = tmp_path / "README.md"
    readme.write_text(facts.with_table(facts.README.read_text(encoding="utf-8"), "| organ |"), encoding="utf-8")
    monkeypatch.setattr(facts, "FACTS", old)
    monkeypatch.setattr(facts, "README", readme)
    assert facts.main(["--check"]) == 1 and "shipped.json, README.md" in capsys.readouterr().err
    assert facts.main([]) == 0
    assert old.read_bytes() == FACTS.read_bytes()
    assert readme.read_bytes() == (Path(facts.__file__).parents[2] / "README.md").read_bytes()


def test_the_readme_has_the_first_columns_between_its_marks() -> None:
    text = "above\n<!-- results:begin -->\nold\n<!-- results:end -->\nbelow\n"
    table = "\n".join(STORED["results_table"])
    new = facts.with_table(text, table)
    assert "old" not in new and new.startswith("above\n<!-- results") and new.endswith("end -->\nbelow\n")
    rows = [line for line in new.splitlines() if line.startswith("|")]
    assert rows[0] == "| organ | cases | stage 1 Dice | two stages Dice | 95 % interval | HD95 mm |"
    whole = [line for line in table.splitlines() if line.startswith("|")]
    assert len(rows) == len(whole) and all(line.startswith(row) for row, line in zip(rows, whole, strict=True))
