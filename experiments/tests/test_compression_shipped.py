"""What the page says of the packed networks that ship."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch

from experiments.compression.shipped import ORIGIN, shipped_section
from experiments.scores.tables import RESULTS
from oarseg.compression.packing import write_packed
from oarseg.networks import UNet3d
from oarseg.sites import load_site
from oarseg.training.weights import save_weights


def trained(network: UNet3d) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """Stage 1 is a small U-Net, packed as it is; the organs' networks are one tensor each, and files of zeros."""
    site, localizer = load_site(), UNet3d(9, 4)
    state = {f"localizer.{name}": tensor for name, tensor in localizer.state_dict().items()}
    for organ in site.organs:
        state |= {f"organs.{organ.key}.head.weight": torch.zeros(1000)}
        state |= {f"organs.{organ.key}.norm.running_mean": torch.zeros(5)}
    save_weights(state, tmp_path / "models/model.pt")
    (tmp_path / "models/compressed").mkdir()
    write_packed(tmp_path / "models/compressed/localizer.packed", localizer.state_dict())
    for organ in site.organs:
        (tmp_path / f"models/compressed/{organ.key}.packed").write_bytes(b"0" * 1000)
    return tmp_path


def test_sizes_count_parameters_as_float32(bundle: Path, tmp_path: Path) -> None:
    text = "\n".join(shipped_section(bundle, tmp_path / "none"))
    whole, packed = 4 * trained(UNet3d(9, 4)), (bundle / "models/compressed/localizer.packed").stat().st_size
    assert f"| localizer | {whole / 1e6:.2f} | {packed / 1e6:.2f} | 1/{whole / packed:.1f} |" in text
    assert "| brainstem | 0.00 | 0.00 | 1/4.0 |" in text
    assert "Nothing was pruned" in text
    assert "Dice on the validation cases" not in text


def test_another_stage_1_is_told_of(bundle: Path, tmp_path: Path) -> None:
    network = UNet3d(9, widths={"encoder": [[3, 2], [4, 4]], "up": [2], "decoder": [[3, 3]]})
    write_packed(bundle / "models/compressed/localizer.packed", network.state_dict())
    text = "\n".join(shipped_section(bundle, tmp_path / "none"))
    assert f"{trained(network)} parameters instead of {trained(UNet3d(9, 4))}, and width 3." in text
    # What was done to the one that ships was not done to this one.
    assert "Nothing was pruned" not in text and ORIGIN not in text
    assert ORIGIN in "\n".join(shipped_section())


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
