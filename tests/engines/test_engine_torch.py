"""PyTorch as an engine: BatchNorm folded, half precision where there is one, the same answers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from experiments.peers.anatomynet import AnatomyNet
from oarseg.errors import ConfigError
from oarseg.inference import AutocastInferer
from oarseg.inference.engines import TorchEngine, folded, numpy_network
from oarseg.networks import UNet3d
from oarseg.training import autocast as half


def seasoned(network: nn.Module) -> nn.Module:
    """``network`` with BatchNorms that do something, as after training."""
    torch.manual_seed(3)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm3d):
            nn.init.normal_(module.running_mean, std=0.3)
            nn.init.uniform_(module.running_var, 0.2, 3)
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.normal_(module.bias, std=0.3)
    return network.eval()


@pytest.mark.parametrize("make", [lambda: UNet3d(3, 4, mean=0.4, std=0.3), lambda: AnatomyNet(1, 3)])
def test_folding_changes_nothing_but_the_layers(make) -> None:
    network = seasoned(make())
    state = {key: value.clone() for key, value in network.state_dict().items()}
    image = torch.rand(1, 1, 16, 8, 24)
    quick = folded(network)
    with torch.no_grad():
        torch.testing.assert_close(quick(image), network(image), atol=1e-4, rtol=1e-4)
    assert not any(isinstance(module, nn.BatchNorm3d) for module in quick.modules())
    assert all(torch.equal(network.state_dict()[key], value) for key, value in state.items())


def test_a_norm_that_belongs_to_no_convolution_stays() -> None:
    network = seasoned(nn.Sequential(nn.Conv3d(1, 2, 3), nn.ReLU(), nn.BatchNorm3d(2)))
    assert isinstance(folded(network)[2], nn.BatchNorm3d)
    without = nn.Sequential(nn.Conv3d(1, 2, 3), nn.BatchNorm3d(2, track_running_stats=False))
    assert isinstance(folded(without)[1], nn.BatchNorm3d)


def test_full_precision_holds_in_an_inferer_that_would_halve_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(half, "_cpu_has_bf16", lambda: True)
    network, image = seasoned(UNet3d(2, 4)), torch.rand(1, 1, 16, 16, 16)
    with torch.no_grad():
        exact = network(image)
        full = AutocastInferer()(image, TorchEngine("cpu", "fp32").ready(network))
        halved = AutocastInferer()(image, TorchEngine("cpu").ready(network))
    torch.testing.assert_close(full, exact, atol=1e-4, rtol=1e-4)
    assert halved.dtype == torch.float32 and 1e-4 < (halved - exact).abs().max() < 0.2


def test_half_precision_only_where_the_processor_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(half, "_cpu_has_bf16", lambda: False)
    assert TorchEngine("cpu").precision == "fp32"
    with pytest.raises(ConfigError, match="no bfloat16"):
        TorchEngine("cpu", "bf16")
    assert TorchEngine("cuda").precision == "bf16"
    with pytest.raises(ConfigError, match="not 'int8'"):
        TorchEngine("cpu", "int8")


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_module_as_a_function_of_arrays(precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(half, "_cpu_has_bf16", lambda: True)
    network = seasoned(UNet3d(2, 4))
    run = numpy_network(TorchEngine("cpu", precision).ready(network))
    image = np.random.default_rng(0).random((1, 1, 8, 24, 16)).astype(np.float32)
    # A view with its axes turned, as crops of a CT are.
    turned = np.ascontiguousarray(image.transpose(0, 1, 4, 3, 2)).transpose(0, 1, 4, 3, 2)
    logits = run(turned)
    with torch.no_grad():
        exact = network(torch.from_numpy(image)).numpy()
    assert logits.dtype == np.float32 and logits.flags.c_contiguous
    np.testing.assert_allclose(logits, exact, atol={"fp32": 1e-4, "bf16": 0.2}[precision])
