"""What a compressed network costs, and how the report shows it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from oarseg.compression import widths_of
from oarseg.compression.measure import costs, network_in
from oarseg.compression.report_text import markdown
from oarseg.networks import UNet3d, unet_widths
from oarseg.process import peak_memory_mib
from oarseg.training.weights import save_weights


@pytest.fixture
def models(tmp_path: Path) -> dict[str, Path]:
    made = {"start": UNet3d(3, 8, 2), "remove": UNet3d(3, 4, 2)}
    for name, network in made.items():
        save_weights(network.state_dict(), tmp_path / f"{name}.pt")
    return {name: tmp_path / f"{name}.pt" for name in made}


def test_network_of_a_file_has_its_widths(models: dict[str, Path]) -> None:
    network = network_in(models["remove"])
    assert widths_of(network.state_dict()) == unet_widths(4, 2)
    assert not network.training


@pytest.mark.slow
def test_costs(models: dict[str, Path]) -> None:
    found = costs(models, (16, 24, 32), repeats=1)
    size = 16 * 24 * 32
    whole = 0
    # Two for each weight and voxel: 3x3x3 convolutions, and 2x2x2 transposed ones, each on its own level's grid.
    for name, module in network_in(models["start"]).named_modules():
        if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
            part, _, rest = name.partition(".")
            # How often the grid is halved where the weights are applied; a transposed convolution's is its input's.
            level = int(rest[0]) if rest else 0
            halved = {"head": 0, "encoder": level, "decoder": 1 - level, "up": 2 - level}[part]
            whole += 2 * module.weight.numel() * size // 8**halved
    assert found["start"]["flops"] == whole
    assert 0.2 * whole < found["remove"]["flops"] < 0.35 * whole
    for row in found.values():
        assert row["seconds"] > 0
        assert 0.05 < row["peak_gib"] < 4


@pytest.mark.slow
def test_peak_is_this_process(models: dict[str, Path]) -> None:
    block = torch.ones(150 * 2**20)
    # Imports take 0.4 GiB, the block 0.6; a process that is started now does not inherit it.
    assert (peak_memory_mib() / 1024) > 0.9
    found = costs({"start": models["start"]}, (8, 8, 8), repeats=1)["start"]["peak_gib"]
    assert found < (peak_memory_mib() / 1024) - 0.3
    assert block.numel() == 150 * 2**20


def _step(stage: str, name: str, settings: dict, **results: object) -> dict:
    base = {"dice": 0.7, "metrics": {"val_mean_dice": 0.7}, "steps": 5, "parameters": 1000}
    base |= {"bytes": 2**20, "sparsity": 0.25}
    return {"stage": stage, "name": name, "settings": settings, "results": base | results}


def test_markdown() -> None:
    published = {
        "source": "thesis",
        "start": {"dice": 0.67, "mib": 12.03, "seconds": 30, "peak_gib": 3},
        "channels": {"0.2": {"mib": 7.78, "dice": 0.654, "seconds": 20, "peak_gib": 2}},
        "threshold": {"0.02": {"sparsity": 0.15, "dice": 0.65}},
        "levels": {"31": {"mib": 1.9, "dice": 0.646}},
    }
    steps = [
        _step("start", "weights", {}),
        _step("channels", "0.2", {"ratio": 0.2}, dice=0.61, bytes_removed=2**19),
        _step("remove", "structure", {}, bytes=2**18, parameters=250, largest_difference=1e-6),
        _step("threshold", "0.02", {"threshold": 0.02}, sparsity=0.4),
        _step("levels", "printed_31", {"levels": 31, "scheme": "printed"}, packed_bytes=3 * 2**18),
    ]
    pass_of = {"flops": 4e9, "seconds": 2.0, "peak_gib": 1.5}
    costs_of = {"size": [8, 8, 8], "networks": {"start": pass_of, "remove": pass_of | {"seconds": 1.5}}}
    layers = [{"layer": "head", "start": 12, "remove": 9, "threshold": 4}]
    content = {"steps": steps, "costs": costs_of, "layers": layers, "published": published}
    text = markdown(content, ["dice.png"])
    for line in (
        "Began at Dice 0.700 with 1000 parameters, 1.00 MiB.",
        "| 0.2 | 5 | 0.610 | 0.654 | 0.50 | 7.78 |",
        "| parameters | 1000 | 250 | c = 0.750 |  |  |",
        "| seconds | 2.00 | 1.50 | s = 0.250 | 30 | 20 |",
        "| 0.02 | 5 | 0.400 | 0.150 | 0.700 | 0.650 |",
        "| 31 | printed | 5 | 0.156 | 0.75 | 1.90 | 0.700 | 0.646 |",
        "| all | 12 | 9 | 4 |",
        "![dice.png](dice.png)",
        "Published: stage 1 of a thesis.",
    ):
        assert line in text, line
    # A chain that has only begun has a report too.
    brief = markdown(content | {"steps": steps[:1], "costs": {}, "layers": [{"layer": "head", "start": 12}]}, [])
    assert "## Structure" not in brief and "| head | 12 |" in brief
    # Of stage 2 nothing is published.
    brief = markdown(content | {"published": None}, [])
    assert "ublished" not in brief and "| levels printed 31 | 5 | 1000 | 0.250 | 0.75 | 0.700 |" in brief
