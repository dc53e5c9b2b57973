"""One stage-2 network for all organs: the thesis leaves open whether the eight can share what they learn.

What is shared: every 3x3x3 convolution and transposed convolution of encoder and decoder, so all features. What each
organ has of its own: BatchNorm (statistics, scale and shift), the last convolution, and the mean and standard deviation
of its crops; 0.2 % of the weights. So the network learns which organ to find as in FiLM (E. Perez et al.,
AAAI 2018: a scale and a shift a channel), but with the organ's own statistics, as N. Karani et al. (MICCAI 2018) share
one U-Net between MR protocols. A one-hot input or heads alone would leave BatchNorm to one running mean over crops of
different organs, spacings and contents, which is not what any of them shows at inference.

Left and right organs share everything: the right one's network is the left one's in a mirror.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import torch
from torch import Tensor, nn

from oarseg.errors import ConfigError
from oarseg.networks.two_stage import TwoStageNet
from oarseg.networks.unet3d import UNet3d
from oarseg.sites import Organ

CONVOLUTIONS = (nn.Conv3d, nn.ConvTranspose3d)


class SharedUNets(nn.Module):
    """Stage-2 networks of several organs with common convolutions; a state dict holds each tensor once.

    Args:
        organs: rows of the site table. Of a pair, the one that comes first is learnt, the other is its mirror image.
        base_width: channels of the first level; by default the largest of the organs' own.

    ``forward(image, organ)``: ``(B, 1, *organ.grid)`` to logits ``(B, 2, *organ.grid)``, as the organ's own
    :class:`oarseg.networks.UNet3d` gives them. Raises ConfigError for an organ that is not among them, or none at all.
    """

    def __init__(self, organs: Sequence[Organ], base_width: int | None = None) -> None:
        super().__init__()
        if not organs:
            raise ConfigError("a network for all organs needs at least one organ")
        width = base_width or max(organ.base_width for organ in organs)
        self.networks = nn.ModuleDict()
        for organ in organs:
            self.networks[organ.key] = self._network(organ, width)
        self.factor = next(iter(self.networks.values())).factor
        store_once(self)

    def forward(self, image: Tensor, organ: str) -> Tensor:
        if organ not in self.networks:
            raise ConfigError(f"organ {organ!r} is not in the shared network; it has: {', '.join(self.networks)}")
        return self.networks[organ](image)

    def views(self) -> dict[str, nn.Module]:
        """By organ key a module that looks like the organ's own network and holds the shared tensors."""
        return dict(self.networks.items())

    def with_localizer(self, localizer: nn.Module) -> TwoStageNet:
        """Both stages, for :class:`oarseg.inference.TwoStageInferer`; a state dict holds each tensor once."""
        network = TwoStageNet(localizer, self.views())
        store_once(network)
        return network

    def _network(self, organ: Organ, width: int) -> nn.Module:
        if organ.mirror in self.networks:
            return Mirrored(self.networks[organ.mirror])
        network = UNet3d(2, width, mean=organ.mean, std=organ.std)
        for first in self.networks.values():
            share_features(first, network)
            break
        return network


class Mirrored(nn.Module):
    """A network for the organ on the other side: mirrors the image, runs the network, mirrors the logits.

    The same as flipping its kernels (:func:`oarseg.training.mirrored`), but the tensors stay those of ``network``.
    Input (B, C, D, H, W) with columns that run left-right; output (B, classes, D, H, W).
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.factor = network.factor

    def forward(self, image: Tensor) -> Tensor:
        return torch.flip(self.network(torch.flip(image, dims=[-1])), dims=[-1])


def share_features(source: UNet3d, target: UNet3d) -> None:
    """Put the convolutions of ``source``, the head's excepted, into ``target`` in place of its own.

    Raises ConfigError where the two have not the same widths.
    """
    theirs = dict(source.named_modules())
    for name, module in list(target.named_modules()):
        if not isinstance(module, CONVOLUTIONS) or name == "head":
            continue
        if name not in theirs or theirs[name].weight.shape != module.weight.shape:
            raise ConfigError(f"{name} cannot be shared: the two networks must have the same levels and widths")
        target.set_submodule(name, theirs[name])


def repeated(module: nn.Module) -> dict[str, str]:
    """Names under which ``module`` holds a tensor once more, each with the first name of that tensor."""
    first: dict[int, str] = {}
    tensors = chain(module.named_parameters(remove_duplicate=False), module.named_buffers(remove_duplicate=False))
    firsts = {name: first.setdefault(id(tensor), name) for name, tensor in tensors}
    return {name: other for name, other in firsts.items() if name != other}


def store_once(module: nn.Module) -> None:
    """Let the module's state dicts hold a tensor that several parts share under its first name alone."""
    module.register_state_dict_post_hook(_leave_out)
    module.register_load_state_dict_pre_hook(_put_back)


def _leave_out(module: nn.Module, state: dict, prefix: str, _metadata: dict) -> None:
    for name in repeated(module):
        state.pop(prefix + name, None)


def _put_back(module: nn.Module, state: dict, prefix: str, _metadata, _strict, _missing, _unexpected, errors) -> None:
    for name, first in repeated(module).items():
        if prefix + first not in state:
            continue
        given = state.setdefault(prefix + name, state[prefix + first])
        if not torch.equal(given, state[prefix + first]):
            # Weights of separate networks: whichever came last would silently win.
            errors.append(f"{prefix}{name} is not {prefix}{first}, but here they are one tensor")
