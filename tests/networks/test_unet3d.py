"""The 3D U-Net is the thesis' network: its size, its shapes, and its rebuilding from widths."""

from __future__ import annotations

import pytest
import torch

from oarseg.networks import TwoStageNet, UNet3d, unet_widths
from oarseg.sites import load_site


def megabytes(network: torch.nn.Module) -> float:
    return sum(p.numel() for p in network.parameters()) * 4 / 2**20


def test_weights_are_as_large_as_in_the_thesis() -> None:
    """12.03 MB of float32 at base width 24, three poolings and nine classes."""
    assert megabytes(UNet3d(9, 24)) == pytest.approx(12.03, rel=0.01)


def test_parameters_counted_by_hand() -> None:
    # Width 2, one pooling, two classes: kernels 27, BatchNorm 2 a channel.
    encoder = 27 * (1 * 2 + 2 * 2 + 2 * 4 + 4 * 4) + 2 * (2 + 2 + 4 + 4)
    up = 8 * 4 * 2 + 2
    decoder = 27 * (4 * 2 + 2 * 2) + 2 * (2 + 2)
    head = 27 * 2 * 2 + 2
    assert sum(p.numel() for p in UNet3d(2, 2, 1).parameters()) == encoder + up + decoder + head


def test_feature_maps_of_every_level() -> None:
    network, seen = UNet3d(9, 24).eval(), []
    for level in (*network.encoder, *network.decoder):
        level.register_forward_hook(lambda _, __, out: seen.append(tuple(out.shape[1:])))
    with torch.no_grad():
        out = network(torch.zeros(1, 1, 8, 16, 24))
    down = [(24, 8, 16, 24), (48, 4, 8, 12), (96, 2, 4, 6), (192, 1, 2, 3)]
    assert seen == down + down[-2::-1]
    assert out.shape == (1, 9, 8, 16, 24)


@pytest.mark.parametrize("poolings", [2, 3, 4])
def test_poolings(poolings: int) -> None:
    network = UNet3d(3, 4, poolings).eval()
    size = 2**poolings
    assert network.factor == size
    assert network(torch.zeros(2, 1, size, 2 * size, size)).shape == (2, 3, size, 2 * size, size)
    with pytest.raises(ValueError, match=f"multiples of {size}"):
        network(torch.zeros(1, 1, size, size, size + size // 2))


def test_widths_are_the_tables() -> None:
    assert unet_widths(24) == {
        "encoder": [[24, 24], [48, 48], [96, 96], [192, 192]],
        "up": [96, 48, 24],
        "decoder": [[96, 96], [48, 48], [24, 24]],
    }


def test_pruned_widths_rebuild_the_network() -> None:
    widths = {"encoder": [[3, 5], [7, 6], [9, 11]], "up": [5, 4], "decoder": [[8, 7], [3, 2]]}
    network = UNet3d(4, widths=widths).eval()
    assert network.factor == 4
    image = torch.rand(1, 1, 8, 8, 12)
    again = UNet3d(4, widths=widths).eval()
    again.load_state_dict(network.state_dict())
    with torch.no_grad():
        assert torch.equal(network(image), again(image))
        assert network(image).shape == (1, 4, 8, 8, 12)
    assert network.decoder[0][0].in_channels == 5 + 6
    assert network.head.in_channels == 2


@pytest.mark.parametrize(
    ("widths", "message"),
    [
        ({"encoder": [[4, 4], [8, 8]], "up": [4]}, "lack"),
        ({"encoder": [[4, 4]], "up": [], "decoder": []}, "1 encoder levels"),
        ({"encoder": [[4, 4], [8, 8]], "up": [4, 4], "decoder": [[4, 4]]}, "not 2 and 1"),
        ({"encoder": [[4, 4], [8, 8]], "up": [4], "decoder": []}, "not 1 and 0"),
        ({"encoder": [[4, 0], [8, 8]], "up": [4], "decoder": [[4, 4]]}, "at least 1"),
    ],
)
def test_impossible_widths(widths: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        UNet3d(2, widths=widths)


def test_statistics_normalise_and_travel_with_the_weights() -> None:
    network = UNet3d(2, 4, mean=0.25, std=0.5).eval()
    state = network.state_dict()
    without = {key: value for key, value in state.items() if not key.startswith("standardize.")}
    assert len(state) == len(without) + 2
    plain, other = UNet3d(2, 4).eval(), UNet3d(2, 4, mean=0.1, std=0.2).eval()
    # Weights of oarseg 0.1 have none: those of the configuration stay.
    plain.load_state_dict(without)
    other.load_state_dict(state)
    assert set(without) == set(state) - {"standardize.mean", "standardize.std"}, "loading leaves a state dict alone"
    image = torch.rand(1, 1, 8, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(network(image), plain((image - 0.25) / 0.5))
        assert not torch.allclose(network(image), plain(image))
        assert torch.equal(network(image), other(image))
    assert (other.mean.item(), other.std.item()) == (0.25, 0.5)
    for std in (0, -1, float("nan")):
        with pytest.raises(ValueError, match="std"):
            UNet3d(2, 4, std=std)


def test_dropout_only_in_training() -> None:
    torch.manual_seed(0)
    network, image = UNet3d(2, 4, dropout=0.5), torch.rand(1, 1, 16, 16, 16)
    network.eval()
    assert torch.equal(network(image), network(image))
    network.train()
    assert not torch.equal(network(image), network(image))


def test_two_stage_net_runs_the_named_part() -> None:
    site = load_site()
    network = TwoStageNet.for_site(site).eval()
    assert list(network.organs) == [o.key for o in site.organs]
    image = torch.rand(1, 1, 8, 8, 8)
    with torch.no_grad():
        assert torch.equal(network(image), network.localizer(image))
        assert network(image).shape[1] == 9
        assert torch.equal(network(image, organ="eye_left"), network.organs["eye_left"](image))
    assert {key.split(".")[0] for key in network.state_dict()} == {"localizer", "organs"}
    assert network.organs["mandible"].mean == pytest.approx(site.organ("mandible").mean)
    with pytest.raises(KeyError):
        network(image, organ="heart")
