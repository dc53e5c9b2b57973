"""Threshold pruning."""

from __future__ import annotations

import pytest
import torch

from experiments.peers.anatomynet import AnatomyNet
from oarseg.compression import hold, kernels, nonzero_masks, release, sparsity, threshold_masks
from oarseg.errors import ConfigError
from oarseg.networks import UNet3d


def test_kernels_below_go_and_nothing_else(small: UNet3d) -> None:
    with torch.no_grad():
        small.head.weight[0, 0, 0, 0] = torch.tensor([0.02, -0.02, 0.0199])
        small.head.bias[0] = 0.001
    before = {name: value.clone() for name, value in small.state_dict().items()}
    hold(small, threshold_masks(small, 0.02))
    release(small)
    for name, value in small.state_dict().items():
        below = (before[name].abs() < 0.02) & (value.ndim == 5)
        assert (value[below] == 0).all() and torch.equal(value[~below], before[name][~below]), name
    assert small.head.weight[0, 0, 0, 0].tolist() == pytest.approx([0.02, -0.02, 0])
    assert small.head.bias[0].item() == pytest.approx(0.001)


def test_sparsity_grows_with_the_threshold_and_masks_stay(small: UNet3d) -> None:
    shares, gone = [], None
    for threshold in (0.01, 0.02, 0.03, 0.04, 0.05):
        hold(small, threshold_masks(small, threshold))
        zero = {name: weight == 0 for name, weight in kernels(small).items()}
        assert gone is None or all((zero[name] | ~gone[name]).all() for name in zero)
        gone = zero
        shares.append(sparsity(small))
    # Of weights with a standard deviation of 0.1.
    expected = [torch.special.erf(torch.tensor(t / 0.1 / 2**0.5)).item() for t in (0.01, 0.02, 0.03, 0.04, 0.05)]
    assert shares == pytest.approx(expected, abs=0.01)
    assert all(torch.equal(mask, ~gone[name]) for name, mask in nonzero_masks(small).items())


def test_works_on_anatomynet(shaken) -> None:
    network = shaken(AnatomyNet(out_channels=3))
    hold(network, threshold_masks(network, 0.05))
    assert sparsity(network) == pytest.approx(0.383, abs=0.01)


@pytest.mark.parametrize(
    ("threshold", "message"),
    [(0.9, r"threshold 0.9 would empty \S+; take a smaller one"), (0, "must be positive"), (-1, "must be positive")],
)
def test_thresholds_that_are_none(small: UNet3d, threshold: float, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        threshold_masks(small, threshold)


def test_nothing_to_compress() -> None:
    with pytest.raises(ConfigError, match="has no 3D convolution"):
        threshold_masks(torch.nn.Linear(2, 2), 0.1)
