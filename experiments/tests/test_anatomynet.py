"""AnatomyNet is the paper's network: where it halves the volume, its channels, its gates, its size."""

from __future__ import annotations

import pytest
import torch

from experiments.peers.anatomynet import AnatomyNet, SEResidualBlock
from oarseg.networks import Standardize


def test_halves_the_volume_once_and_gives_it_back() -> None:
    network, seen = AnatomyNet(1, 9).eval(), []
    for part in (network.stem, *network.encoder, *network.decoder, network.up, network.fine):
        part.register_forward_hook(lambda _, __, out: seen.append(tuple(out.shape[1:])))
    with torch.no_grad():
        out = network(torch.zeros(2, 1, 8, 12, 10))
    half, whole = (4, 6, 5), (8, 12, 10)
    assert seen == [
        *[(c, *half) for c in (28, 30, 32, 34)],
        *[(c, *half) for c in (32, 30, 28)],
        *[(14, *whole)] * 2,
    ]
    assert out.shape == (2, 9, *whole)


def test_is_as_small_as_the_papers() -> None:
    """Below a quarter of the 3D U-Net's 3.16 million; counted by hand from the channels, kernels and gates."""

    def convolution(i: int, o: int, kernel: int = 27) -> int:
        return i * o * kernel + 2 * o  # without bias, with BatchNorm

    def block(i: int, o: int, gate: bool = True) -> int:
        along = convolution(i, o, 1) if i != o else 0
        hidden = o // 2
        return convolution(i, o) + convolution(o, o) + along + gate * (2 * o * hidden + hidden + o)

    def stage(i: int, o: int) -> int:
        return block(i, o) + block(o, o)

    stages = sum(stage(i, o) for i, o in ((28, 30), (30, 32), (32, 34), (34 + 32, 32), (32 + 30, 30), (30 + 28, 28)))
    ends = convolution(1, 28) + (28 * 14 * 8 + 14) + block(15, 14, gate=False) + (14 * 9 * 27 + 9)
    found = sum(p.numel() for p in AnatomyNet(1, 9).parameters())
    assert found == stages + ends
    assert 0.65e6 < found < 0.8e6


def test_channels_and_classes_of_choice() -> None:
    with torch.no_grad():
        assert AnatomyNet(3, 2).eval()(torch.zeros(1, 3, 4, 6, 8)).shape == (1, 2, 4, 6, 8)


@pytest.mark.parametrize("size", [(9, 8, 8), (8, 7, 8), (8, 8, 1)])
def test_odd_sizes(size: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match=r"multiples of 2"):
        AnatomyNet()(torch.zeros(1, 1, *size))


def test_every_weight_has_a_gradient() -> None:
    torch.manual_seed(0)
    network = AnatomyNet(1, 3)
    network(torch.rand(2, 1, 8, 8, 8))[:, 0].square().mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
    # The head's other classes are not in this loss; all that comes before it is.
    assert all(p.grad.abs().sum() > 0 for n, p in network.named_parameters() if n.endswith("0.weight"))


def test_gates_scale_channels_by_what_the_whole_volume_holds() -> None:
    torch.manual_seed(0)
    block = SEResidualBlock(4, 4).eval()
    image = torch.rand(1, 4, 6, 6, 6)
    seen = {}
    block.second.register_forward_hook(lambda _, __, out: seen.update(before=out))
    block.gate.register_forward_hook(lambda _, __, out: seen.update(after=out))
    with torch.no_grad():
        block(image)
        ratio = seen["after"] / seen["before"]
        per_channel = ratio.mean(dim=(2, 3, 4), keepdim=True)
        torch.testing.assert_close(ratio, per_channel.expand_as(ratio))
        assert ((per_channel > 0) & (per_channel < 1)).all()
        assert per_channel.std() > 0
        # A gate that is shut leaves the input alone; one without gate does not know of it.
        for layer in (block.gate.fc[0], block.gate.fc[2]):
            layer.weight.zero_()
        block.gate.fc[2].bias.fill_(-100.0)
        torch.testing.assert_close(block(image), image)
    assert not list(SEResidualBlock(4, 4, reduction=None).gate.parameters())


def test_statistics_normalise_and_travel_with_the_weights() -> None:
    network = AnatomyNet(mean=0.25, std=0.5).eval()
    other, plain = AnatomyNet().eval(), AnatomyNet().eval()
    other.load_state_dict(network.state_dict())
    assert (float(other.standardize.mean), float(other.standardize.std)) == (0.25, 0.5)
    # Weights of oarseg 0.1 have none: the network keeps its own.
    plain.load_state_dict({k: v for k, v in network.state_dict().items() if not k.startswith("standardize.")})
    image = torch.rand(1, 1, 4, 4, 4)
    with torch.no_grad():
        torch.testing.assert_close(network(image), plain((image - 0.25) / 0.5))


def test_standardize_chains() -> None:
    chain = torch.nn.Sequential(Standardize(0.5, 0.25), torch.nn.Flatten())
    torch.testing.assert_close(chain(torch.tensor([[0.5, 1.0, 0.0]])), torch.tensor([[0.0, 2.0, -2.0]]))
    assert {key: float(value) for key, value in chain.state_dict().items()} == {"0.mean": 0.5, "0.std": 0.25}
    for std in (0, -1, float("nan")):
        with pytest.raises(ValueError, match="std must be positive"):
            Standardize(0.0, std)
