"""``oarseg statistics`` measures and writes a file of the user's; nothing that is installed changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from oarseg.bundles import FOLDER
from oarseg.cli import main
from oarseg.sites import load_site
from oarseg.training import statistics

BUNDLE = "eye_left_ct_segmentation"


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[tuple]:
    """What was to be measured; no training data are read."""
    calls: list[tuple] = []
    monkeypatch.setattr(statistics, "bundle_statistics", lambda *args: calls.append(args) or (0.25, 0.5))
    return calls


def test_statistics_are_printed_and_written_where_the_user_says(measured, tmp_path: Path, capsys) -> None:
    kept = [load_site().path, *sorted((FOLDER / BUNDLE / "configs").iterdir())]
    before = [path.read_bytes() for path in kept]
    args = ["statistics", BUNDLE, "--dataset-dir", str(tmp_path / "data"), "--draws", "7"]
    assert main(args) == 0
    assert f"{BUNDLE}: mean 0.25, std 0.5 over 7 draws" in capsys.readouterr().out and not list(tmp_path.iterdir())
    assert main([*args, "-o", str(tmp_path / "a" / "eye.json")]) == 0
    assert str(tmp_path / "a" / "eye.json") in capsys.readouterr().out
    assert statistics.read_statistics(tmp_path / "a" / "eye.json") == (0.25, 0.5)
    assert measured[0] == (str(FOLDER / BUNDLE), str(tmp_path / "data"), 7)
    assert [path.read_bytes() for path in kept] == before


def test_a_folder_without_the_bundle(measured, tmp_path: Path, capsys) -> None:
    assert main(["statistics", BUNDLE, "--dataset-dir", str(tmp_path), "--root", str(tmp_path)]) == 2
    assert f"no bundle {BUNDLE} in {tmp_path}" in capsys.readouterr().err and measured == []


def test_a_wrong_data_set_is_named_without_the_config_expression(tmp_path: Path, capsys) -> None:
    assert main(["statistics", BUNDLE, "--dataset-dir", str(tmp_path / "nowhere")]) == 2
    said = capsys.readouterr().err
    assert "nowhere" in said and "unexpected" not in said and "ConfigExpression" not in said
