"""Fake quantization: levels forwards, the straight-through gradient backwards."""

from __future__ import annotations

import pytest
import torch

from oarseg.compression import (
    PRINTED,
    SCHEMES,
    FakeQuantize,
    hold,
    kernels,
    masks_of,
    quantize,
    quantized,
    release,
    table,
    threshold_masks,
)
from oarseg.errors import ConfigError
from oarseg.networks import UNet3d
from oarseg.training import WeightAverage


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("count", PRINTED)
def test_the_forward_pass_sees_levels(small: UNet3d, scheme: str, count: int) -> None:
    biases = {name: p.clone() for name, p in small.named_parameters() if p.ndim == 1}
    quantize(small, count, scheme)
    for name, kernel in quantized(small).items():
        weight = kernels(small)[name]
        assert torch.equal(kernel.weight(), weight)
        per_scale = weight / kernel.scale
        assert len(per_scale.unique().round(decimals=4).unique()) <= count
        assert kernel.scale.numel() == (weight.shape["up" in name] if scheme == "channel" else 1)
        if scheme in ("printed", "centres"):
            assert set(weight.detach().unique().tolist()) <= set(torch.tensor(table(count, scheme).values).tolist())
    assert all(torch.equal(dict(small.named_parameters())[name], bias) for name, bias in biases.items())


def test_gradient_goes_straight_through() -> None:
    """Including weights within half a step of zero, and those beyond the last level."""
    weight = torch.tensor([-2.0, -0.2, -0.01, 0.0, 0.1, 0.44, 3.0], requires_grad=True)
    upstream = torch.arange(1.0, 8.0)
    level = FakeQuantize(table(5, "printed"), torch.ones(1))(weight)
    assert level.tolist() == pytest.approx([-0.27, -0.09, 0, 0, 0.09, 0.27, 0.27])
    level.backward(upstream)
    assert torch.equal(weight.grad, upstream)


def test_gradient_of_a_learned_step() -> None:
    """Esser et al., eqs 3 and 5: round(v) - v inside, the last level beyond; v in units of the step."""
    step = 0.1
    quantizer = FakeQuantize(table(5, "learned"), torch.full((1,), step), learned=True)
    weight = torch.tensor([0.03, 0.12, -0.17, 0.5, -0.5], requires_grad=True)
    level = quantizer(weight)
    assert level.tolist() == pytest.approx([0, 0.1, -0.2, 0.2, -0.2])
    upstream = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])
    level.backward(upstream)
    assert torch.equal(weight.grad, torch.tensor([1.0, 2, 3, 0, 0]))
    slopes = torch.tensor([0 - 0.3, 1 - 1.2, -2 + 1.7, 2, -2])
    expected = float((upstream * slopes).sum()) / (5 * 2) ** 0.5
    # The step is stored as a logarithm: the chain rule gives another factor.
    assert quantizer.log_scale.grad.item() == pytest.approx(expected * step, rel=1e-5)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_retraining_moves_the_weights_behind_the_levels(small: UNet3d, scheme: str) -> None:
    torch.manual_seed(0)
    quantize(small, 7, scheme)
    small.train()
    average = WeightAverage(small)
    optimizer = torch.optim.Adam(small.parameters(), lr=0.02)
    before = {name: kernel.codes.clone() for name, kernel in quantized(small).items()}
    behind = small.encoder[1][0].parametrizations.weight.original.detach().clone()
    steps = [m.scale.clone() for m in small.modules() if isinstance(m, FakeQuantize)]
    for _ in range(3):
        optimizer.zero_grad()
        small(torch.rand(2, 1, 8, 8, 8)).square().mean().backward()
        optimizer.step()
        average.update()
    after = quantized(small)
    assert any(not torch.equal(after[name].codes, codes) for name, codes in before.items())
    assert not torch.equal(small.encoder[1][0].parametrizations.weight.original, behind)
    moved = [not torch.equal(m.scale, s) for m, s in zip(_quantizers(small), steps, strict=True)]
    assert all(moved) if scheme == "learned" else not any(moved)
    assert all(kernel.scale.min() > 0 for kernel in after.values())
    # What is averaged is the full-precision weights; the averaged network computes with their levels.
    kept = quantized(average.averaged)
    assert all(torch.equal(kept[name].weight(), weight) for name, weight in kernels(average.averaged).items())


def _quantizers(network: UNet3d) -> list[FakeQuantize]:
    return [module for module in network.modules() if isinstance(module, FakeQuantize)]


@pytest.mark.parametrize("count", [2, 3, 31])
def test_what_is_pruned_stays_zero(small: UNet3d, count: int) -> None:
    masks = threshold_masks(small, 0.05)
    hold(small, masks)
    quantize(small, count, "layer")
    assert set(masks_of(small)) == set(masks)
    found = quantized(small)
    for name, weight in kernels(small).items():
        assert (weight[~masks[name]] == 0).all()
        assert torch.equal(found[name].weight(), weight)
        # Binary weights have no zero of their own: those that are kept stay binary.
        assert count > 2 or (weight[masks[name]] != 0).all()
        assert len(found[name].values) == max(count, 3)


def test_release_leaves_the_levels(small: UNet3d, image: torch.Tensor) -> None:
    quantize(small, 15, "channel")
    expected, found = small(image), quantized(small)
    state = release(small).state_dict()
    assert torch.equal(small(image), expected) and quantized(small) == {}
    assert all(torch.equal(state[name], kernel.weight()) for name, kernel in found.items())


def test_more_levels_come_closer(small: UNet3d, image: torch.Tensor) -> None:
    weights = {name: weight.detach().clone() for name, weight in kernels(small).items()}
    for scheme in ("centres", "layer", "channel"):
        errors = []
        for count in (3, 7, 31):
            quantize(small, count, scheme)
            errors.append(sum(float((w.detach() - weights[name]).square().sum()) for name, w in kernels(small).items()))
            release(small)
            with torch.no_grad():
                for name, weight in weights.items():
                    kernels(small)[name].copy_(weight)
        assert errors == sorted(errors, reverse=True), scheme


def test_networks_that_cannot_be_quantized(small: UNet3d) -> None:
    quantize(small, 3)
    with pytest.raises(ConfigError, match="encoder.0.0 is quantized already"):
        quantize(small, 5)
    release(small)
    with torch.no_grad():
        small.head.weight[0, 0, 0, 0, 0] = torch.nan
    with pytest.raises(ConfigError, match="head has weights that are not finite"):
        quantize(small, 5)
    with pytest.raises(ConfigError, match="scheme must be one of"):
        quantize(small, 5, "nearest")
