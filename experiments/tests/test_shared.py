"""One network for all organs: what is shared and what is not, sides, gradients, and state dicts without repetition."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from torch import Tensor, nn

from experiments.peers.shared import Mirrored, SharedUNets, repeated, share_features
from oarseg.errors import ConfigError, WeightsError
from oarseg.inference import TwoStageInferer
from oarseg.networks import TwoStageNet, UNet3d
from oarseg.sites import load_site
from oarseg.training import load_weights, mirrored, save_weights
from oarseg.training.average import WeightAverage

pytestmark = pytest.mark.slow

SITE = load_site()
KEYS = [organ.key for organ in SITE.organs]
SIDES = [(o.key, o.mirror) for o in SITE.organs if o.key.endswith("left")]
SIZE = (16, 24, 8)


def shared(width: int = 4, seed: int = 0) -> SharedUNets:
    """A network whose organs differ, as after training."""
    torch.manual_seed(seed)
    network = SharedUNets(SITE.organs, width)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm3d):
            nn.init.normal_(module.running_mean, std=0.2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
    return network.eval()


def image(seed: int = 1) -> Tensor:
    return torch.rand(1, 1, *SIZE, generator=torch.Generator().manual_seed(seed))


def count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def test_common_tensors_count_once() -> None:
    network = shared(16)
    one = UNet3d(2, 16)
    own = sum(m.weight.numel() * 2 for m in one.modules() if isinstance(m, nn.BatchNorm3d)) + count(one.head)
    assert count(network) == count(one) + 4 * own, "five kinds of organ, of which one is counted in the first network"
    assert own / count(one) < 0.002
    assert count(network) < count(TwoStageNet.for_site(SITE).organs) / 6
    assert count(network.with_localizer(nn.Conv3d(1, 9, 1))) == count(network) + 18


def test_width_is_the_largest_of_the_table() -> None:
    assert SharedUNets(SITE.organs[1:3]).networks["eye_left"].head.in_channels == SITE.organ("eye_left").base_width
    assert SharedUNets(SITE.organs).networks["eye_left"].head.in_channels == SITE.organ("brainstem").base_width


@torch.no_grad()
def test_features_are_shared_and_organs_are_not() -> None:
    network, given = shared(), image()
    before = {key: network(given, key) for key in KEYS}
    assert not torch.allclose(before["brainstem"], before["mandible"]), "the network knows which organ it is to find"
    network.networks["mandible"].decoder[0][1].weight += 0.5
    network.networks["mandible"].head.bias += 0.5
    for key in KEYS:
        assert torch.equal(network(given, key), before[key]) == (key != "mandible")
    network.networks["mandible"].encoder[0][0].weight += 0.5
    for key in KEYS:
        assert not torch.equal(network(given, key), before[key]), key


@torch.no_grad()
@pytest.mark.parametrize(("left", "right"), SIDES)
def test_right_is_left_in_a_mirror(left: str, right: str) -> None:
    """Exactly, and as the flipped kernels give it; an image is not its own mirror image, so neither are the logits."""
    network, given = shared(), image()
    found = network(given, right)
    assert not torch.allclose(found, network(given, left), atol=1e-3)
    assert torch.equal(found.flip(-1), network(given.flip(-1), left))
    separate = UNet3d(2, 4, mean=SITE.organ(right).mean, std=SITE.organ(right).std).eval()
    separate.load_state_dict(mirrored(network.views()[left].state_dict()))
    torch.testing.assert_close(separate(given), found, atol=1e-5, rtol=1e-4)


def test_the_first_of_a_pair_is_learnt() -> None:
    network = SharedUNets(SITE.organs[::-1], 2)
    assert isinstance(network.networks["eye_left"], Mirrored)
    assert isinstance(network.networks["eye_right"], UNet3d)
    assert isinstance(SharedUNets([SITE.organ("parotid_right")], 2).networks["parotid_right"], UNet3d)


@pytest.mark.parametrize("key", KEYS)
def test_every_organ_teaches_the_common_features(key: str) -> None:
    network = shared().train()
    network(image().repeat(2, 1, 1, 1, 1), key).square().sum().backward()
    common = [m.weight for n, m in network.networks["brainstem"].named_modules() if hasattr(m, "bias") and n != "head"]
    common = [weight for weight in common if weight.ndim == 5]
    assert len(common) == 17, "14 convolutions and 3 transposed ones"
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in common)
    side = SITE.organ(key).mirror
    own = {key, side}
    for other in KEYS:
        head = next(m for n, m in network.networks[other].named_modules() if n.endswith("head"))
        assert (head.weight.grad is not None) == (other in own), other


def test_views_are_networks_of_their_own() -> None:
    views = shared().views()
    assert list(views) == KEYS
    for key, view in views.items():
        assert view.factor == 8
        assert count(view) == count(UNet3d(2, 4)), key
        with torch.no_grad():
            assert view(image()).shape == (1, 2, *SIZE)


@torch.no_grad()
@pytest.mark.parametrize("both", [False, True])
def test_weights_are_stored_once_and_come_back(both: bool, tmp_path: Path) -> None:
    def build(seed: int) -> nn.Module:
        network = shared(seed=seed)
        return network.with_localizer(UNet3d(9, 2).eval()) if both else network

    source, target = build(3), build(4)
    save_weights(source.state_dict(), tmp_path / "model.pt")
    stored = torch.load(tmp_path / "model.pt", weights_only=True)
    tensors = {id(t): t.numel() for t in (*source.parameters(), *source.buffers())}
    assert sum(t.numel() for t in stored.values()) == sum(tensors.values())
    for key in KEYS:
        assert not torch.equal(source(image(), key), target(image(), key))
    load_weights(target, tmp_path / "model.pt")
    for key in KEYS:
        torch.testing.assert_close(target(image(), key), source(image(), key), atol=2e-2, rtol=2e-2)
    assert count(target) == count(source), "still shared"
    again = target.state_dict()
    assert all(torch.equal(again[name], value.to(again[name].dtype)) for name, value in stored.items())


def test_weights_of_separate_networks_do_not_fit(tmp_path: Path) -> None:
    network = shared()
    torch.manual_seed(5)
    others = {f"networks.{k}.{n}": t for k in KEYS[:2] for n, t in UNet3d(2, 4).state_dict().items()}
    with pytest.raises(WeightsError, match="another network.*is not networks.brainstem.encoder.0.0.weight"):
        save_weights(network.state_dict() | others, tmp_path / "model.pt")
        load_weights(network, tmp_path / "model.pt")
    state = network.state_dict()
    del state["networks.brainstem.encoder.0.0.weight"]
    with pytest.raises(RuntimeError, match="Missing key.*brainstem.encoder.0.0.weight"):
        network.load_state_dict(state)


def test_copies_share_among_themselves_alone() -> None:
    """As the running average of the weights and a resumed checkpoint need it."""
    network = shared()
    average = WeightAverage(network)
    copied = copy.deepcopy(network)
    assert count(copied) == count(average.averaged) == count(network)
    assert repeated(copied) == repeated(network)
    with torch.no_grad():
        copied.networks["eye_left"].encoder[0][0].weight += 1
        here, there = (n.networks["mandible"].encoder[0][0].weight for n in (network, copied))
        assert torch.equal(there, copied.networks["eye_left"].encoder[0][0].weight)
        assert torch.allclose(there, here + 1)
    average.update()
    resumed = WeightAverage(shared(seed=9))
    resumed.load_state_dict(average.state_dict())
    for name, value in average.averaged.state_dict().items():
        assert torch.equal(resumed.averaged.state_dict()[name], value)


def test_a_whole_ct_in_two_stages(phantom) -> None:
    """The inferer takes the views as it takes separate networks: same labels as from those with copied weights."""
    shape = (32, 40, 48)
    affine = phantom.centred_affine([[0, 0, -4.5], [0, -5.0, 0], [5.0, 0, 0]], shape)
    hu, _ = phantom.draw(shape, affine)
    ct = MetaTensor(torch.as_tensor(phantom.scaled(hu))[None, None], affine=torch.as_tensor(affine))
    localizer = phantom.ByIntensity(list(range(1, 9)))
    network = shared()
    separate = {}
    for key, view in network.views().items():
        separate[key] = UNet3d(2, 4, mean=SITE.organ(key).mean, std=SITE.organ(key).std).eval()
        base = view.network if isinstance(view, Mirrored) else view
        separate[key].load_state_dict(mirrored(base.state_dict()) if base is not view else base.state_dict())
    inferer = TwoStageInferer(SITE, ["eye_left", "eye_right", "optic_nerve_left", "parotid_right"])
    found = inferer.segment(ct, network.with_localizer(localizer))
    expected = inferer.segment(ct, TwoStageNet(localizer, separate))
    assert found.missing == expected.missing
    found, expected = (np.asarray(result.label) for result in (found, expected))
    assert found.any()
    assert (found != expected).mean() < 1e-3


def test_what_cannot_be_shared() -> None:
    network = shared()
    with pytest.raises(ConfigError, match="'spleen' is not in the shared network; it has: brainstem, eye_left"):
        network(image(), "spleen")
    with pytest.raises(ConfigError, match="'None' is not|None is not"):
        network(image(), None)
    with pytest.raises(ConfigError, match="at least one organ"):
        SharedUNets([])
    with pytest.raises(ConfigError, match="encoder.0.0 cannot be shared"):
        share_features(UNet3d(2, 2), UNet3d(2, 4))
    with pytest.raises(ConfigError, match="encoder.3.0 cannot be shared"):
        share_features(UNet3d(2, 2, poolings=2), UNet3d(2, 2))
