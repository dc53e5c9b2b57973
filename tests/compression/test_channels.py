"""Channel pruning: which kernels go, and that a masked network equals the one from which they were removed."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from experiments.peers.anatomynet import AnatomyNet
from oarseg.compression import channel_masks, hold, rebuilt, release, remove_channels, widths_of
from oarseg.compression.channels import channel_groups, zero_channel_masks, zeroed
from oarseg.errors import ConfigError
from oarseg.networks import TwoStageNet, UNet3d, unet_widths

RATIOS = (0.05, 0.1, 0.15, 0.2, 0.25)


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("ranking", ["l1", "random"])
def test_masked_equals_removed_equals_rebuilt(
    small: UNet3d, image: torch.Tensor, ratio: float, ranking: str
) -> None:
    whole = small(image)
    hold(small, channel_masks(small, ratio, ranking))
    masked = small(image)
    cut = remove_channels(small)
    again = rebuilt(cut)
    expected = {
        part: [[n - math.floor(n * ratio) for n in pair] for pair in unet_widths(8, 2)[part]]
        for part in ("encoder", "decoder")
    }
    widths = widths_of(cut.state_dict())
    assert {part: widths[part] for part in expected} == expected
    assert widths["up"] == [n - math.floor(n * ratio) for n in (16, 8)]
    assert again.head.out_channels == 3
    torch.testing.assert_close(cut(image), masked, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(again(image), masked, atol=1e-5, rtol=1e-5)
    # By 0.05 only layers of 32 lose a kernel.
    assert not torch.allclose(masked, whole, atol=1e-3)
    names = set(small.state_dict())
    assert any("parametrizations" in name for name in names)
    release(small)
    torch.testing.assert_close(small(image), masked)


def test_masked_equals_removed_where_results_are_added(shaken, image: torch.Tensor) -> None:
    # In double precision: random weights make logits of hundreds, whose rounding would hide an error.
    network, image = shaken(AnatomyNet(out_channels=3)).eval().double(), image.double()
    before = sum(p.numel() for p in network.parameters())
    hold(network, channel_masks(network, 0.25))
    cut = remove_channels(network)
    assert sum(p.numel() for p in cut.parameters()) < 0.7 * before
    torch.testing.assert_close(cut(image), network(image), atol=1e-9, rtol=1e-9)
    with pytest.raises(ConfigError, match="AnatomyNet cannot be rebuilt"):
        rebuilt(cut)


def test_lowest_sums_of_absolute_weights_go(small: UNet3d) -> None:
    sums = {name: small.get_submodule(name).weight.detach().abs() for name in ("encoder.2.0", "up.0")}
    masks = channel_masks(small, 0.25)
    # The kernels of a transposed convolution are its second dimension.
    order = {"encoder.2.0": sums["encoder.2.0"].sum((1, 2, 3, 4)), "up.0": sums["up.0"].sum((0, 2, 3, 4))}
    for name, total in order.items():
        gone = {int(i) for i in total.argsort()[: len(total) // 4]}
        mask = masks[f"{name}.weight"].movedim(1, 0) if name == "up.0" else masks[f"{name}.weight"]
        assert {i for i in range(len(total)) if not mask[i].any()} == gone
        assert all(mask[i].all() for i in range(len(total)) if i not in gone)
    assert torch.equal(masks["up.0.bias"], masks["up.0.weight"].any(0).flatten(1).any(1))
    assert torch.equal(masks["encoder.2.1.bias"], masks["encoder.2.0.weight"].flatten(1).any(1))
    assert torch.equal(masks["encoder.2.1.weight"], masks["encoder.2.1.bias"])
    assert not any(name.startswith("head") for name in masks)


@pytest.mark.parametrize("ranking", ["l1", "random"])
def test_larger_ratio_keeps_what_a_smaller_one_zeroed(small: UNet3d, ranking: str) -> None:
    first = channel_masks(small, 0.1, ranking, seed=1)
    hold(small, first)
    release(small)
    # Another seed: only what is zero already makes the draws agree.
    second = channel_masks(small, 0.25, ranking, seed=2)
    for name, mask in first.items():
        assert not (second[name] & ~mask).any()
        assert mask.float().mean() >= second[name].float().mean()


def test_random_ranking_is_another_and_repeatable(small: UNet3d) -> None:
    a, b, other = (channel_masks(small, 0.25, "random", seed=seed) for seed in (3, 3, 4))
    l1 = channel_masks(small, 0.25)
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert any(not torch.equal(a[name], other[name]) for name in a)
    assert any(not torch.equal(a[name], l1[name]) for name in a)


def test_channels_stay_zero_through_training(small: UNet3d, image: torch.Tensor) -> None:
    small, image = small.double(), image.double()
    hold(small, channel_masks(small, 0.25))
    optimizer = torch.optim.Adam(small.train().parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        small(torch.rand(2, 1, 8, 8, 8, dtype=torch.float64)).square().mean().backward()
        optimizer.step()
    small.eval()
    torch.testing.assert_close(remove_channels(small)(image), small(image), atol=1e-9, rtol=1e-9)


def test_zero_channels_are_found_again(small: UNet3d) -> None:
    assert zero_channel_masks(small) == {}
    masks = channel_masks(small, 0.25)
    hold(small, masks)
    release(small)
    found = zero_channel_masks(small)
    assert all(torch.equal(found[name], mask) for name, mask in masks.items())


def test_a_dead_kernel_with_a_shift_is_not_removed(small: UNet3d, image: torch.Tensor) -> None:
    """Its feature map is constant, not zero: the network needs it."""
    with torch.no_grad():
        small.encoder[0][0].weight[2] = 0
    cut = remove_channels(small)
    assert widths_of(cut.state_dict()) == unet_widths(8, 2)
    torch.testing.assert_close(cut(image), small(image))


def test_a_part_of_a_two_stage_network(shaken) -> None:
    both = shaken(TwoStageNet(UNet3d(3, 8, 2), {"eye": UNet3d(2, 8, 2)})).eval()
    part, image = both.organs["eye"], torch.rand(1, 1, 8, 8, 8)
    hold(part, channel_masks(part, 0.2))
    expected = both(image, "eye")
    both.organs["eye"] = rebuilt(remove_channels(part))
    torch.testing.assert_close(both(image, "eye"), expected, atol=1e-5, rtol=1e-5)
    assert both.localizer.encoder[0][0].out_channels == 8


def test_published_sizes() -> None:
    """MiB of the stage-1 network at float32, whole and with 5 to 25 % of the channels removed."""
    published = {0: 12.03, 0.05: 11.00, 0.1: 9.86, 0.15: 8.80, 0.2: 7.78, 0.25: 6.78}
    for ratio, size in published.items():
        widths = {
            part: [[n - zeroed(n, ratio) for n in pair] if part != "up" else pair - zeroed(pair, ratio) for pair in row]
            for part, row in unet_widths(24).items()
        }
        network = UNet3d(9, widths=widths)
        assert sum(p.numel() for p in network.parameters()) * 4 / 2**20 == pytest.approx(size, abs=0.02)


def test_counts_are_rounded_down() -> None:
    assert [zeroed(n, 0.05) for n in (19, 20, 24, 48, 96, 192)] == [0, 1, 1, 2, 4, 9]
    # 100 * 0.29 is 28.999... in floating point, and 20 * 0.15 is exact on paper.
    assert zeroed(100, 0.29) == 29
    assert zeroed(20, 0.15) == 3
    assert zeroed(1, 0.99) == 0


@pytest.mark.parametrize("ratio", [1.0, 1.5])
def test_a_ratio_that_empties_a_layer(small: UNet3d, ratio: float) -> None:
    with pytest.raises(ConfigError, match=r"would empty encoder.0.0, which has 8 kernels"):
        channel_masks(small, ratio)


@pytest.mark.parametrize("ratio", [-0.1, math.nan, math.inf])
def test_a_ratio_that_is_none(small: UNet3d, ratio: float) -> None:
    with pytest.raises(ConfigError, match=r"must lie in \[0, 1\)"):
        channel_masks(small, ratio)


def test_networks_that_cannot_be_pruned(small: UNet3d) -> None:
    with pytest.raises(ConfigError, match="no output layer 'head'"):
        channel_groups(nn.Sequential(nn.Conv3d(1, 2, 3)))
    with pytest.raises(ConfigError, match="ranking must be one of l1, random, not 'l2'"):
        channel_masks(small, 0.1, "l2")
    with torch.no_grad():
        for parameter in small.encoder[1].parameters():
            parameter.zero_()
    with pytest.raises(ConfigError, match="all 16 kernels of encoder.1.0 are zero"):
        remove_channels(small)


def test_widths_of_another_network() -> None:
    with pytest.raises(ConfigError, match="not the weights of a UNet3d.*encoder.0.0.weight"):
        widths_of(AnatomyNet().state_dict())
    with pytest.raises(ConfigError, match="not the weights of a UNet3d.*encoder.0.0.weight"):
        widths_of({})


def test_weights_of_a_cut_network_are_a_plain_state_dict(small: UNet3d, image: torch.Tensor, tmp_path) -> None:
    hold(small, channel_masks(small, 0.25))
    cut = remove_channels(small)
    torch.save(cut.state_dict(), tmp_path / "cut.pt")
    state = torch.load(tmp_path / "cut.pt", weights_only=True)
    network = UNet3d(3, widths=widths_of(state), mean=0.3, std=0.2).eval()
    network.load_state_dict(state)
    assert torch.equal(network(image), cut(image))
