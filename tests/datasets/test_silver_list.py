"""The list of silver labels: what is refused with a reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.silver.choice import Verdict
from experiments.silver.report import report
from oarseg.datasets.silver_list import read_silver
from oarseg.errors import ConfigError, InputError


@pytest.mark.parametrize(
    ("text", "error", "match"),
    [
        ("{", ConfigError, "no JSON list of silver labels"),
        ("[]", ConfigError, "no JSON list of silver labels"),
        ('{"section": "training", "round": 1}', ConfigError, "'cases'"),
        ('{"section": "training", "round": 1, "cases": []}', ConfigError, "no JSON list of silver labels"),
        ('{"section": 3, "round": 1, "cases": {}}', ConfigError, "must be a name"),
        ('{"section": "training", "round": 1, "cases": {"a": {"label": "../x", "organs": {}}}}', InputError, "outside"),
        ('{"section": "training", "round": 1, "cases": {"a": {"label": "x", "organs": {}}}}', InputError, "not exist"),
        (
            '{"section": "t", "round": 1, "cases": {"a": {"label": "silver.json", "organs": {"eye_left": "me"}}}}',
            ConfigError,
            "origin 'me'",
        ),
    ],
)
def test_malformed_lists(text: str, error: type, match: str, tmp_path: Path) -> None:
    (tmp_path / "silver.json").write_text(text, encoding="utf-8")
    with pytest.raises(error, match=match):
        read_silver(tmp_path)


def test_no_list(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="silver is true, false, or a folder"):
        read_silver(tmp_path / "nowhere")


def test_a_list_nested_without_end(tmp_path: Path) -> None:
    (tmp_path / "silver.json").write_text("[" * 200_000, encoding="utf-8")
    with pytest.raises(ConfigError, match="no JSON list of silver labels"):
        read_silver(tmp_path)


def test_names_that_would_break_the_report() -> None:
    text = report({"a|b\n\udcff": [Verdict("eye_left", "accepted", stages_dice=0.9)]}, ["eye_left"], "Silver")
    assert "| a\\|b\\n\\udcff | accepted |" in text and text.encode("utf-8")
