"""Channel pruning (algorithm 4-1): the kernels of a layer that add least are masked, whole.

A masked channel must be the same as one that is not there. So the shift and scale of the BatchNorm that follows a
kernel, and its bias, are masked with it: the feature map is then zero, not constant. What else depends on a channel
(residual sums, squeeze-and-excitation gates) is found by torch-pruning's dependency graph (Fang et al., "DepGraph",
CVPR 2023), which removes the channels too (:mod:`oarseg.compression.structure`).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from oarseg.compression.layers import CONVOLUTIONS, NORMS, OUTPUT, convolutions, output_channel
from oarseg.compression.masks import release
from oarseg.errors import ConfigError

RANKINGS = ("l1", "random")


@dataclass(frozen=True)
class Group:
    """Channels that live and die together: ``root`` is the convolution they are named after, ``channels`` their number.

    ``members``: for each convolution and BatchNorm that makes them, its name and the channels there, in the root's
    order. More than one convolution where their results are added.
    """

    root: str
    channels: int
    members: tuple[tuple[str, tuple[int, ...]], ...]


def channel_masks(network: nn.Module, ratio: float, ranking: str = "l1", seed: int = 0) -> dict[str, Tensor]:
    """Return masks that zero floor(n * ratio) of the n kernels of every layer but the output layer's.

    Args: ``network``: with a layer called "head"; unchanged. ``ranking``: "l1" for the kernels with the least sum of
    absolute weights, "random" for a control. Channels that are zero already come first, so that a larger ratio keeps
    what a smaller one has zeroed. ``seed``: of the random ranking.
    Returns: bool masks by parameter name, for :func:`oarseg.compression.hold`. Raises ConfigError where the ratio is
    not in [0, 1) or would empty a layer.
    """
    if ranking not in RANKINGS:
        raise ConfigError(f"ranking must be one of {', '.join(RANKINGS)}, not {ranking!r}")
    random = torch.Generator().manual_seed(seed) if ranking == "random" else None
    masks: dict[str, Tensor] = {}
    for group in channel_groups(network):
        count = zeroed(group.channels, ratio, group.root)
        scores = absolute_sums(network, group)
        if random is not None:
            drawn = 1 + torch.rand(group.channels, generator=random)
            scores = torch.where(scores == 0, 0.0, drawn)
        lowest = torch.argsort(scores, stable=True)[:count].tolist()
        for name, mask in _masks(network, group, lowest).items():
            masks[name] = masks[name] & mask if name in masks else mask
    return masks


def zeroed(channels: int, ratio: float, layer: str = "a layer") -> int:
    """Return floor(channels * ratio). Raises ConfigError where nothing would be left of ``layer``."""
    if not (ratio >= 0 and math.isfinite(ratio)):
        raise ConfigError(f"channel ratio must lie in [0, 1), not {ratio}")
    # A hair more than the product: 0.29 * 100 is 28.999... in floating point.
    count = math.floor(channels * ratio + 1e-9)
    if count >= channels:
        raise ConfigError(f"channel ratio {ratio:g} would empty {layer}, which has {channels} kernels; take a smaller")
    return count


def channel_groups(network: nn.Module) -> list[Group]:
    """Return the groups of all convolutions but those whose channels are the network's output.

    Raises ConfigError where the network has no output layer called "head".
    """
    plain, graph = dependency_graph(network)
    names = {module: name for name, module in plain.named_modules()}
    groups: list[Group] = []
    seen: set[str] = set()
    for name, module in convolutions(plain).items():
        if name in seen or name == OUTPUT:
            continue
        channels = module.weight.shape[output_channel(module)]
        members = dict(_members(graph, module, range(channels), names))
        seen |= set(members)
        if OUTPUT not in members:
            groups.append(Group(name, channels, tuple(members.items())))
    return groups


def absolute_sums(network: nn.Module, group: Group) -> Tensor:
    """Return the sum of absolute weights of each channel's kernels, over all convolutions that make it: (channels,)."""
    total = torch.zeros(group.channels, dtype=torch.float64)
    for name, channels in group.members:
        module = network.get_submodule(name)
        if isinstance(module, CONVOLUTIONS):
            dim = output_channel(module)
            sums = module.weight.detach().double().abs().movedim(dim, 0).flatten(1).sum(1).cpu()
            total += sums[list(channels)]
    return total


def zero_channels(network: nn.Module, group: Group) -> list[int]:
    """Return which channels of a group are zero whatever the image. Raises ConfigError where all are."""
    zero = absolute_sums(network, group) == 0
    for name, channels in group.members:
        module = network.get_submodule(name)
        terms = (module.weight, module.bias) if isinstance(module, NORMS) else (module.bias,)
        for term in terms:
            if term is not None:
                zero &= term.detach().cpu()[list(channels)] == 0
    if bool(zero.all()):
        raise ConfigError(f"all {group.channels} kernels of {group.root} are zero; a layer needs one")
    return torch.nonzero(zero).flatten().tolist()


def zero_channel_masks(network: nn.Module) -> dict[str, Tensor]:
    """Return masks that hold the channels at zero that are zero now, for :func:`oarseg.compression.hold`."""
    weights = [m.weight.detach().movedim(output_channel(m), 0).flatten(1) for m in convolutions(network).values()]
    if all(w.any(dim=1).all() for w in weights):
        return {}
    masks: dict[str, Tensor] = {}
    for group in channel_groups(network):
        masks |= _masks(network, group, zero_channels(network, group))
    return masks


def dependency_graph(network: nn.Module) -> tuple[nn.Module, object]:
    """Return a plain copy of ``network`` on the CPU, and torch-pruning's dependency graph of that copy."""
    # Imported late: it takes a second, and only pruning needs it.
    import torch_pruning

    if not isinstance(getattr(network, OUTPUT, None), CONVOLUTIONS):
        raise ConfigError(f"{type(network).__name__} has no output layer {OUTPUT!r}; which kernels to keep is unknown")
    plain = release(copy.deepcopy(network)).cpu().eval().requires_grad_(True)
    first = next(iter(convolutions(plain).values()))
    inputs = first.weight.shape[1 - output_channel(first)]
    image = torch.zeros(1, inputs, *[2 * getattr(network, "factor", 8)] * 3, dtype=first.weight.dtype)
    with torch.enable_grad():
        return plain, torch_pruning.DependencyGraph().build_dependency(plain, example_inputs=image)


def pruning_group(graph: object, module: nn.Module, channels: Iterable[int]) -> object:
    """Return torch-pruning's group for removing output channels of a convolution."""
    return graph.get_pruning_group(module, graph.get_pruner_of_module(module).prune_out_channels, list(channels))


def _members(
    graph: object, module: nn.Module, channels: range, names: dict[nn.Module, str]
) -> list[tuple[str, tuple[int, ...]]]:
    """Return the convolutions and BatchNorms whose output channels go with those of ``module``."""
    found = []
    for dependency, places in pruning_group(graph, module, channels):
        target = dependency.target.module
        if isinstance(target, CONVOLUTIONS + NORMS) and graph.is_out_channel_pruning_fn(dependency.handler):
            found.append((names[target], tuple(places)))
    return found


def _masks(network: nn.Module, group: Group, zeroed: list[int]) -> dict[str, Tensor]:
    """Return masks of the weights, biases and BatchNorm scales and shifts of a group's channels."""
    masks = {}
    for name, channels in group.members:
        module = network.get_submodule(name)
        for key in ("weight", "bias"):
            tensor = getattr(module, key)
            if tensor is None:
                continue
            mask = torch.ones(tensor.shape, dtype=torch.bool, device=tensor.device)
            dim = output_channel(module) if tensor.ndim > 1 else 0
            mask.movedim(dim, 0)[[channels[i] for i in zeroed]] = False
            masks[f"{name}.{key}"] = mask
    return masks
