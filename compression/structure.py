"""Removal of masked channels from the structure: the last line of algorithm 4-1.

torch-pruning cuts the layers; what is kept is a state dict and the widths from which
:class:`oarseg.networks.UNet3d` builds the smaller network, never a pickled module.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from oarseg.compression.channels import channel_groups, dependency_graph, pruning_group, zero_channels
from oarseg.compression.layers import convolutions
from oarseg.errors import ConfigError
from oarseg.networks import UNet3d

FIRST, SECOND = 0, 3  # Places of a level's convolutions in its nn.Sequential.


def remove_channels(network: nn.Module) -> nn.Module:
    """Return a plain copy of ``network`` on the CPU without the channels that are zero, which computes the same.

    A channel is zero where all its kernels, biases, and BatchNorm's scale and shift are. Its layers are smaller, so
    its state dict needs a network of these widths: see :func:`rebuilt`. Raises ConfigError where a layer is all zero.
    """
    zero = {group.root: zero_channels(network, group) for group in channel_groups(network)}
    plain, graph = dependency_graph(network)
    for root, channels in zero.items():
        if channels:
            pruning_group(graph, plain.get_submodule(root), channels).prune()
    for module in plain.modules():
        module.zero_grad()
    return plain


def widths_of(state: Mapping[str, Tensor]) -> dict[str, list]:
    """Return the widths (see ``unet_widths``) of the :class:`oarseg.networks.UNet3d` that a state dict belongs to.

    Raises ConfigError where it belongs to no such network.
    """
    try:
        levels = 1 + max((int(key.split(".")[1]) for key in state if key.startswith("encoder.")), default=0)
        pairs = {
            part: [[len(state[f"{part}.{i}.{place}.weight"]) for place in (FIRST, SECOND)] for i in range(count)]
            for part, count in (("encoder", levels), ("decoder", levels - 1))
        }
        up = [state[f"up.{i}.weight"].shape[1] for i in range(levels - 1)]
    except (KeyError, ValueError, IndexError) as error:
        raise ConfigError(f"these are not the weights of a UNet3d ({error} is missing or odd)") from error
    return {"encoder": pairs["encoder"], "up": up, "decoder": pairs["decoder"]}


def rebuilt(network: nn.Module) -> UNet3d:
    """Return a new :class:`oarseg.networks.UNet3d` with the widths, weights and statistics of a cut one.

    It is built from state dict and widths alone, so the modules that torch-pruning changed are left behind. Raises
    ConfigError for another kind of network.
    """
    if not isinstance(network, UNet3d):
        raise ConfigError(f"a {type(network).__name__} cannot be rebuilt from widths; only a UNet3d can")
    state = network.state_dict()
    first = next(iter(convolutions(network).values()))
    made = UNet3d(
        len(state["head.weight"]),
        widths=widths_of(state),
        dropout=network.dropout.p,
        mean=float(network.mean),
        std=float(network.std),
        in_channels=first.weight.shape[1],
    )
    made.load_state_dict(state)
    return made.train(network.training)
