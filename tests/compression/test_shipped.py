"""What the page says of the packed networks that ship."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch

from oarseg.compression.shipped import shipped_section
from oarseg.evaluation.results import RESULTS
from oarseg.sites import load_site
from oarseg.training.weights import save_weights


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    site = load_site()
    names = ["localizer", *(f"organs.{organ.key}" for organ in site.organs)]
    state = {f"{name}.head.weight": torch.zeros(1000) for name in names}
    state |= {f"{name}.norm.running_mean": torch.zeros(5) for name in names}
    save_weights(state, tmp_path / "models/model.pt")
    (tmp_path / "models/compressed").mkdir()
    for name in names:
        size = 500 if name == "localizer" else 1000
        (tmp_path / f"models/compressed/{name.removeprefix('organs.')}.packed").write_bytes(b"0" * size)
    return tmp_path


def test_sizes_count_parameters_as_float32(bundle: Path, tmp_path: Path) -> None:
    text = "\n".join(shipped_section(bundle, tmp_path / "none"))
    assert "| localizer | 0.00 | 0.00 | 1/8.0 |" in text
    assert "| brainstem | 0.00 | 0.00 | 1/4.0 |" in text
    assert "Dice" not in text


def test_scores_are_paired_with_the_original_networks(bundle: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    (results / "compressed").mkdir(parents=True)
    for method in ("stage1", "two_stage"):
        rows = list(csv.DictReader((RESULTS / f"{method}.csv").read_text(encoding="utf-8").splitlines()))
        for folder, change in ((results, 0.0), (results / "compressed", -0.125)):
            with (folder / f"{method}.csv").open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, rows[0])
                writer.writeheader()
                writer.writerows({**row, "dice": max(0.0, float(row["dice"]) + change)} for row in rows)
    text = "\n".join(shipped_section(bundle, results))
    brainstem = [line for line in text.splitlines() if line.startswith("| Brainstem |")]
    assert len(brainstem) == 2 and all("| -0.125 |" in line for line in brainstem)


def test_nothing_is_said_where_nothing_ships(tmp_path: Path) -> None:
    assert shipped_section(tmp_path) == []
