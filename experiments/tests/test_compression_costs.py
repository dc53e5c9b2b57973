"""What a pass of a compressed network costs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from experiments.compression import costs as measured
from experiments.compression.costs import FILE, costs, main, network_in
from oarseg.compression import widths_of
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
    block = torch.ones(150 * 2**20)
    # Imports take 0.4 GiB, the block 0.6; a process that is started now does not inherit it.
    assert (peak_memory_mib() / 1024) > 0.9
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
    # Memory is that of the child processes.
    assert found["start"]["peak_gib"] < (peak_memory_mib() / 1024) - 0.3
    assert block.numel() == 150 * 2**20


def test_costs_of_a_chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    """Of its start and its removed channels, at the size of its validation; one line where nothing was removed."""
    assert main([str(tmp_path)]) == 2
    assert str(tmp_path) in capsys.readouterr().err
    for step in ("start/weights", "channels/0.2", "remove/structure"):
        (tmp_path / step).mkdir(parents=True)
        facts = {"settings": {}, "results": {"size": [16, 8, 24]}}
        (tmp_path / step / "step.json").write_text(json.dumps(facts), encoding="utf-8")
    monkeypatch.setattr(measured, "costs", lambda models, size: {name: str(path) for name, path in models.items()})
    assert main([str(tmp_path)]) == 0
    expected = {"start": tmp_path / "start/weights/model.pt", "remove": tmp_path / "remove/structure/model.pt"}
    written = json.loads((tmp_path / FILE).read_text(encoding="utf-8"))
    assert written == {"size": [16, 8, 24], "networks": {name: str(path) for name, path in expected.items()}}
