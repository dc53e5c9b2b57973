"""Where training keeps away from bfloat16: small feature maps, however the network is wrapped, and by amp."""

from __future__ import annotations

import pytest
import torch
from monai.networks.nets import UNet
from torch import nn
from torch.optim.swa_utils import AveragedModel
from wrapped import Wrapped

from oarseg.inference import WindowInferer
from oarseg.networks import UNet3d
from oarseg.training import AutocastInferer
from oarseg.training import autocast as half


@pytest.fixture(autouse=True)
def _bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(half, "_cpu_has_bf16", lambda: True)


def kinds(network: nn.Module, size: int, inferer=None, gradients: bool = True) -> set[torch.dtype]:
    """Precisions that the convolutions of ``network`` computed in."""
    seen: set[torch.dtype] = set()
    for module in network.modules():
        if isinstance(module, nn.Conv3d):
            module.register_forward_hook(lambda module, inputs, output: seen.add(output.dtype))
    with torch.set_grad_enabled(gradients):
        (inferer or AutocastInferer())(torch.rand(1, 1, size, size, size), network)
    return seen


@pytest.mark.parametrize("wrap", [nn.Identity, Wrapped, AveragedModel])
@pytest.mark.parametrize(
    ("network", "size", "kind"),
    [
        (lambda: UNet3d(2, 4), 16, torch.float32),
        (lambda: UNet3d(2, 4), 24, torch.bfloat16),
        (lambda: UNet3d(2, 4, poolings=4), 32, torch.float32),
        (lambda: UNet3d(2, 4, poolings=4), 48, torch.bfloat16),
        (lambda: UNet(3, 1, 2, (4,) * 5, (2,) * 4), 32, torch.float32),
    ],
)
def test_the_smallest_feature_map_decides(network, size: int, kind: torch.dtype, wrap) -> None:
    network = network() if wrap is nn.Identity else wrap(network())
    assert kinds(network, size) == {kind}


def test_gradients_of_four_poolings_are_finite_in_crops_of_32() -> None:
    network = UNet3d(2, 4, poolings=4)
    for _ in range(10):
        network.zero_grad()
        # bfloat16 gradients of maps two voxels deep were seen to hold what lay in memory: fill it with NaN.
        junk = [torch.full((n,), torch.nan) for n in (1000, 2000, 5000, 20_000, 30_000, 100_000, 500_000)]
        del junk
        AutocastInferer()(torch.rand(1, 1, 32, 32, 32), network).square().mean().backward()
        assert all(p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize("inferer", [AutocastInferer, lambda amp: WindowInferer((24, 24, 24), amp=amp)])
def test_amp_switches_half_precision(inferer) -> None:
    for amp, kind in ((True, torch.bfloat16), (False, torch.float32)):
        assert kinds(UNet3d(2, 4).eval(), 24, inferer(amp=amp), gradients=False) == {kind}
