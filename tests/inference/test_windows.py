"""One network over volumes of any size."""

from __future__ import annotations

from math import prod

import pytest
import torch
from torch import Tensor, nn

from oarseg.inference import AutocastInferer, WindowInferer
from oarseg.networks import UNet3d
from oarseg.training import autocast as half
from oarseg.training import mirrored


class Pointwise(nn.Module):
    """Every voxel for itself, so that windows must not matter; refuses sizes that a U-Net would refuse."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[tuple[int, ...]] = []

    def forward(self, image: Tensor) -> Tensor:
        self.sizes.append(tuple(image.shape[2:]))
        assert not any(size % 8 for size in image.shape[2:])
        return torch.cat([image, 1 - 2 * image], dim=1)


@pytest.fixture(autouse=True)
def _full_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(half, "_cpu_has_bf16", lambda: False)


def test_one_pass_where_it_fits() -> None:
    network = Pointwise()
    image = torch.rand(1, 1, 16, 24, 8)
    out = WindowInferer((16, 24, 32))(image, network)
    assert network.sizes == [(16, 24, 8)]
    torch.testing.assert_close(out, torch.cat([image, 1 - 2 * image], dim=1))


def test_one_pass_of_a_real_network_is_that_network() -> None:
    torch.manual_seed(0)
    network, image = UNet3d(3, 4).eval(), torch.rand(1, 1, 16, 24, 16)
    with torch.no_grad():
        torch.testing.assert_close(WindowInferer((32, 32, 32))(image, network), network(image))


@pytest.mark.parametrize("size", [(1, 2, 3), (7, 9, 17), (20, 24, 13), (50, 40, 33)])
def test_any_size(size: tuple[int, int, int]) -> None:
    network = Pointwise()
    image = torch.rand(1, 1, *size)
    out = WindowInferer((24, 24, 24))(image, network)
    torch.testing.assert_close(out, torch.cat([image, 1 - 2 * image], dim=1), atol=1e-5, rtol=0)
    assert all(prod(sizes) <= 24**3 for sizes in network.sizes)


def test_padding_is_air() -> None:
    seen = []

    class Spy(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            seen.append(image.clone())
            return image

    WindowInferer((24, 24, 24))(torch.ones(1, 1, 5, 8, 8), Spy())
    assert seen[0].shape[2:] == (8, 8, 8)
    assert seen[0][:, :, :5].eq(1).all() and seen[0][:, :, 5:].eq(0).all()


def test_autocast_gives_float32_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    network, image = UNet3d(2, 4).eval(), torch.rand(1, 1, 8, 8, 8)
    exact = network(image)
    for has in (True, False):
        monkeypatch.setattr(half, "_cpu_has_bf16", lambda has=has: has)
        with torch.no_grad():
            out = AutocastInferer()(image, network)
        assert out.dtype == torch.float32 and torch.equal(out, exact) != has
        torch.testing.assert_close(out, exact, atol=0.05 if has else 1e-5, rtol=0)


def test_small_crops_are_trained_on_in_full_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    # Where a feature map is two voxels deep, bfloat16 gradients were seen to hold what lay in memory: fill it with NaN.
    monkeypatch.setattr(half, "_cpu_has_bf16", lambda: True)
    seen: list[torch.dtype] = []
    network = UNet3d(2, 4)
    network.head.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    for size in (16, 24):
        image = torch.rand(1, 1, size, size, size)
        for _ in range(5 if size == 16 else 1):
            network.zero_grad()
            junk = [torch.full((n,), torch.nan) for n in (1000, 2000, 5000, 20_000, 30_000, 100_000, 500_000)]
            del junk
            AutocastInferer()(image, network).square().mean().backward()
            assert all(p.grad.isfinite().all() for p in network.parameters())
    assert seen == [torch.float32] * 5 + [torch.bfloat16]


def test_mirrored_weights_mirror_the_answer() -> None:
    torch.manual_seed(1)
    network, image = UNet3d(3, 4).eval(), torch.rand(1, 1, 16, 8, 24)
    twin = UNet3d(3, 4).eval()
    twin.load_state_dict(mirrored(network.state_dict()))
    with torch.no_grad():
        torch.testing.assert_close(twin(image.flip(-1)), network(image).flip(-1), atol=1e-5, rtol=1e-4)
        assert not torch.allclose(network(image.flip(-1)), network(image).flip(-1), atol=1e-3)
    again = mirrored(mirrored(network.state_dict()))
    assert all(torch.equal(again[key], value) for key, value in network.state_dict().items())
