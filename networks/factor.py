"""By what a network divides the sizes of its images, and how small its feature maps become."""

from __future__ import annotations

import copy
from itertools import chain
from weakref import WeakKeyDictionary

import torch
from torch import nn

# Of networks that cannot be tried, such as those for images of one size: three halvings, as most networks have.
DEFAULT = 8
UNKNOWN = (DEFAULT, DEFAULT)
# Tried sizes are these multiples of a factor: the smallest there is, and without a common divisor.
MULTIPLES = (1, 3, 5)
LARGEST = 64
_measured: WeakKeyDictionary[nn.Module, tuple[int, int] | None] = WeakKeyDictionary()


def network_factor(network: nn.Module) -> int:
    """Return what D, H and W of the network's images must be multiples of.

    It is the network's attribute ``factor`` where there is one (:class:`oarseg.networks.UNet3d`). Other networks, such
    as MONAI's UNet, DynUNet or SegResNet, are tried once with images of several sizes: the smallest factor that is
    accepted and answered in the image's own size. The trial is by shapes alone (PyTorch's "meta" device): it takes
    no memory and about a second, and leaves the network as it is. Wrapped networks (``module``: distributed training,
    averages) are looked into. ``DEFAULT`` where nothing can be found out, or nothing is convolved.
    """
    return (_known(network) or UNKNOWN)[0]


def has_factor(network: nn.Module) -> bool:
    """Return whether the network's factor is known, not a guess because no image could be tried with success."""
    return _known(network) is not None


def smallest_map(network: nn.Module, size: int) -> int:
    """Return how many voxels of ``size`` along an axis are left in the smallest feature map of a convolution."""
    return size // (_known(network) or UNKNOWN)[1]


def _known(network: nn.Module) -> tuple[int, int] | None:
    """Return the factor, and by what images are divided until the bottom: the same where the network pads nothing."""
    while not hasattr(network, "factor") and isinstance(inner := getattr(network, "module", None), nn.Module):
        network = inner
    if isinstance(factor := getattr(network, "factor", None), int):
        return factor, factor
    if network not in _measured:
        _measured[network] = _measure(network)
    return _measured[network]


def _measure(network: nn.Module) -> tuple[int, int] | None:
    if not (convolutions := [m for m in network.modules() if isinstance(m, nn.Conv3d)]):
        return UNKNOWN
    tensors = chain(network.parameters(), network.buffers())
    try:
        # A copy that has none of the values, whatever modules share them.
        shapes = copy.deepcopy(network, {id(t): torch.empty_like(t, device="meta") for t in tensors})
    except Exception:  # of modules that hold more than tensors, such as a compiled network
        return None
    maps: list[tuple[int, ...]] = []
    for module in shapes.modules():
        if isinstance(module, nn.Conv3d) and max(module.kernel_size) > 1:
            module.register_forward_hook(lambda module, inputs, output: maps.append(tuple(output.shape[2:])))
    for factor in range(1, LARGEST + 1):
        size = [factor * n for n in MULTIPLES]
        maps[:] = [tuple(size)]
        try:
            with torch.no_grad():
                output = shapes(torch.empty(1, convolutions[0].in_channels, *size, device="meta"))
            output = output[0] if isinstance(output, list | tuple) else output
            if list(output.shape[-3:]) == size:
                # Of any axis: networks for thick slices halve rows and columns alone.
                return factor, max(n // side for sides in maps for n, side in zip(size, sides, strict=True))
        except Exception:  # whatever another's network raises for a size that it does not take
            continue
    return None
