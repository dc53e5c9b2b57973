"""By what networks divide the sizes of their images: declared, found by trying, and used for padding."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.networks.nets import AttentionUnet, BasicUNet, DynUNet, SegResNet, UNet, VNet
from torch import nn
from torch.optim.swa_utils import AveragedModel
from wrapped import Wrapped

from oarseg.errors import ConfigError
from oarseg.inference import WindowInferer
from oarseg.inference.localize import deepened, in_windows, padded_pass
from oarseg.networks import Standardize, TwoStageNet, UNet3d, network_factor
from oarseg.networks.factor import smallest_map
from oarseg.sites import load_site
from oarseg.training import AutocastInferer

FOUR = {"channels": (4, 4, 4, 4, 4), "strides": (2, 2, 2, 2)}


def four_strides() -> UNet:
    return UNet(3, 1, 2, **FOUR)


@pytest.mark.parametrize(
    ("network", "factor"),
    [
        (lambda: UNet3d(2, 4, poolings=4), 16),
        (four_strides, 16),
        (lambda: UNet(3, 1, 2, (4, 4, 4), (2, 3)), 6),
        (lambda: nn.Sequential(Standardize(0.2, 0.3), four_strides()), 16),
        (lambda: Wrapped(AveragedModel(four_strides())), 16),
        (lambda: DynUNet(3, 1, 2, [3] * 5, [1, 2, 2, 2, 2], [2] * 4, filters=[4] * 5), 16),
        (lambda: DynUNet(3, 1, 2, [3] * 4, [1, (1, 2, 2), 2, 2], [(1, 2, 2), 2, 2], deep_supervision=True), 8),
        (lambda: SegResNet(3, 8, 1, 2), 8),
        (lambda: AttentionUnet(3, 1, 2, (4,) * 5, (2,) * 4), 16),
        (lambda: VNet(3, 1, 2), 16),
        (lambda: BasicUNet(3, 1, 2, (4,) * 6), 16),
        (nn.Identity, 8),
    ],
)
def test_found_and_the_network_left_as_it_is(network, factor: int) -> None:
    network = network().train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    assert network_factor(network) == factor
    assert network.training and all(p.device.type == "cpu" for p in network.parameters())
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


class OneSize(nn.Conv3d):
    """Takes images of 32 voxels a side alone, as transformers with learnt positions do."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        if image.shape[2:] != (32, 32, 32):
            raise AssertionError("expected img_size 32")
        return super().forward(image)


def test_a_network_that_fails_is_named() -> None:
    network = OneSize(1, 2, 3, padding=1)
    assert AutocastInferer()(torch.rand(1, 1, 32, 32, 32), network).shape == (1, 2, 32, 32, 32)
    for wrapped in (network, Wrapped(network)):
        with pytest.raises(ConfigError, match="OneSize.*16 x 24 x 40.*img_size 32"):
            AutocastInferer()(torch.rand(1, 1, 16, 24, 40), wrapped)


def test_the_smallest_feature_map() -> None:
    assert smallest_map(UNet3d(2, 4), 24) == 3
    assert smallest_map(UNet3d(2, 4, poolings=4), 32) == 2
    assert smallest_map(four_strides(), 48) == 3


def test_the_smallest_feature_map_is_of_any_axis() -> None:
    """Networks for thick slices halve rows and columns alone."""
    for axis in range(3):
        strides = tuple(tuple(1 if i == axis else 2 for i in range(3)) for _ in range(4))
        assert smallest_map(UNet(3, 1, 2, channels=(4, 4, 4, 4, 4), strides=strides), 32) == 2
    one = UNet(3, 1, 2, channels=(4, 4, 4, 4, 4), strides=((2, 1, 1),) * 4)
    assert smallest_map(one, 32) == 2


def test_both_stages_need_what_any_part_needs() -> None:
    network = TwoStageNet(four_strides(), {"eye_left": UNet3d(2, 4), "eye_right": UNet(3, 1, 2, (4, 4), (3,))})
    assert network_factor(network) == 48
    assert network_factor(TwoStageNet.for_site(load_site())) == 8


@pytest.mark.parametrize("size", [(16, 24, 40), (7, 50, 33)])
def test_any_volume_fits_a_network_of_four_strides(size: tuple[int, int, int]) -> None:
    network, image = four_strides().eval(), torch.rand(1, 1, *size)
    with torch.no_grad():
        assert WindowInferer((24, 40, 40))(image, network).shape == (1, 2, *size)
        assert AutocastInferer()(image, network).shape == (1, 2, *size)
    seen: list[tuple[int, ...]] = []

    def array(part: np.ndarray) -> np.ndarray:
        seen.append(part.shape[2:])
        return part.repeat(2, axis=1)

    array.factor = 16
    np.testing.assert_allclose(in_windows(image.numpy(), array, (24, 40, 40))[0, 0], image[0, 0], atol=1e-6)
    assert padded_pass(image.numpy(), array, 16).shape == (1, 2, *size)
    assert not any(side % 16 for sides in seen for side in sides)


def test_logits_are_those_of_the_padded_image() -> None:
    """Stage 1's window of 72 slices is no multiple of 16, which four poolings need."""
    network, image = UNet3d(3, 2, poolings=4).eval(), torch.rand(1, 1, 24, 16, 40)
    padded = torch.zeros(1, 1, 32, 16, 48)
    padded[..., :24, :, :40] = image
    with torch.no_grad():
        with pytest.raises(ValueError, match="multiples of 16"):
            network(image)
        expected = network(padded)[..., :24, :, :40]
        assert torch.equal(AutocastInferer(amp=False)(image, network), expected)
        assert torch.equal(WindowInferer((32, 16, 48), amp=False)(image, network), expected)
        array = padded_pass(image.numpy(), lambda part: network(torch.from_numpy(part)).numpy(), 16)
        np.testing.assert_array_equal(array, expected.numpy())
        whole = torch.rand(1, 1, 16, 16, 32)
        assert torch.equal(AutocastInferer(amp=False)(whole, network), network(whole))


def test_windows_are_multiples_too() -> None:
    assert deepened((72, 208, 208), (256, 256, 256), 16) == (64, 208, 208)
    assert deepened((24, 40, 40), (64, 64, 64), 32) == (32, 32, 32)
