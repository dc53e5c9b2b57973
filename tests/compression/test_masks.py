"""Masks hold through training, averaging, saving and copying, and leave plain weights."""

from __future__ import annotations

import copy

import pytest
import torch

from oarseg.compression import hold, kernels, masks_of, release, sparsity, threshold_masks
from oarseg.errors import ConfigError
from oarseg.networks import UNet3d
from oarseg.training import WeightAverage


def train(network: UNet3d, average: WeightAverage | None = None, steps: int = 3, optimizer=None) -> None:
    optimizer = optimizer or torch.optim.Adam(network.parameters(), lr=0.05)
    for _ in range(steps):
        optimizer.zero_grad()
        network(torch.rand(2, 1, 8, 8, 8)).square().mean().backward()
        optimizer.step()
        if average:
            average.update()


def test_masked_weights_stay_zero_and_others_move(small: UNet3d) -> None:
    masks = threshold_masks(small, 0.05)
    before = {name: weight.detach().clone() for name, weight in kernels(small).items()}
    hold(small, masks)
    small.train()
    average = WeightAverage(small)
    train(small, average)
    for network in (small, average.averaged):
        after = kernels(network)
        for name, mask in masks.items():
            assert not mask.all() and mask.any()
            assert (after[name][~mask] == 0).all(), name
            assert not torch.equal(after[name][mask], before[name][mask]), name


def test_momentum_from_before_does_not_bring_masked_weights_back(small: UNet3d) -> None:
    """The optimizer has moved the very weights that are masked afterwards, and goes on with its moments."""
    hold(small, {name: torch.ones_like(w, dtype=torch.bool) for name, w in kernels(small).items()})
    small.train()
    optimizer = torch.optim.Adam(small.parameters(), lr=0.05)
    train(small, steps=2, optimizer=optimizer)
    masks = threshold_masks(small, 0.05)
    hold(small, masks)
    train(small, steps=2, optimizer=optimizer)
    assert all((weight[~masks[name]] == 0).all() for name, weight in kernels(small).items())
    small.zero_grad()
    small(torch.rand(2, 1, 8, 8, 8)).square().mean().backward()
    original = small.encoder[0][0].parametrizations.weight.original
    assert (original.grad[~masks["encoder.0.0.weight"]] == 0).all()
    assert (original.grad[masks["encoder.0.0.weight"]] != 0).any()


def test_masks_only_tighten(small: UNet3d) -> None:
    name = "encoder.0.3.weight"
    first, second = (torch.rand(8, 8, 3, 3, 3) > 0.3 for _ in range(2))
    hold(small, {name: first})
    hold(small, {name: second})
    assert torch.equal(masks_of(small)[name], first & second)


def test_release_leaves_what_the_forward_pass_saw(small: UNet3d, image: torch.Tensor) -> None:
    names = set(small.state_dict())
    hold(small, threshold_masks(small, 0.05))
    expected, share = small(image), sparsity(small)
    copied = copy.deepcopy(small)
    release(copied)
    # A copy shares classes with the original, which must live on.
    assert torch.equal(small(image), expected) and masks_of(small)
    release(small)
    assert set(small.state_dict()) == names and not masks_of(small)
    assert torch.equal(small(image), expected) and torch.equal(copied(image), expected)
    assert sparsity(small) == share > 0


def test_state_with_masks_is_restored(small: UNet3d, image: torch.Tensor) -> None:
    other = copy.deepcopy(small)
    hold(small, threshold_masks(small, 0.05))
    hold(other, {name: torch.ones_like(w, dtype=torch.bool) for name, w in kernels(other).items()})
    other.load_state_dict(small.state_dict())
    assert torch.equal(other(image), small(image))


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        ({"encoder.9.0.weight": torch.ones(1)}, "no parameter encoder.9.0.weight"),
        ({"encoder.0.0.scale": torch.ones(1)}, "no parameter encoder.0.0.scale"),
        ({"encoder.0.0.bias": torch.ones(8)}, "no parameter encoder.0.0.bias"),
        ({"head.weight": torch.ones(3, 8, 3, 3)}, r"\(3, 8, 3, 3\), the parameter \(3, 8, 3, 3, 3\)"),
    ],
)
def test_masks_that_do_not_fit(small: UNet3d, masks: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        hold(small, masks)
