"""Masks that hold weights at zero while a network is trained on.

A mask is a parametrization (``torch.nn.utils.parametrize``) of its parameter: what the forward pass sees is the weight
where the mask is true and zero elsewhere. So a masked weight gets no gradient, an optimizer's momentum cannot bring it
back, and an average of the weights is masked too, as the mask is part of the network that is averaged.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from oarseg.errors import ConfigError


class Mask(nn.Module):
    """Parametrization that keeps a tensor where ``mask`` (bool, of the tensor's shape) is true, and zeroes the rest."""

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask.bool())

    def forward(self, weight: Tensor) -> Tensor:
        # Not a product: that would turn what is not finite into NaN, and negative weights into -0.
        return torch.where(self.mask, weight, torch.zeros((), dtype=weight.dtype, device=weight.device))

    def right_inverse(self, weight: Tensor) -> Tensor:
        return weight


def hold(network: nn.Module, masks: Mapping[str, Tensor]) -> None:
    """Mask parameters of ``network`` in place; one that is masked already keeps only what both masks keep.

    ``masks``: bool tensors by parameter name ("encoder.0.0.weight"). Raises ConfigError for a name or a shape that the
    network does not have.
    """
    for name, mask in masks.items():
        module, key = owner(network, name)
        if mask.shape != getattr(module, key).shape:
            found, expected = tuple(mask.shape), tuple(getattr(module, key).shape)
            raise ConfigError(f"mask of {name} has shape {found}, the parameter {expected}")
        mask = mask.to(getattr(module, key).device)
        held = parametrization(module, key, Mask)
        if held is None:
            parametrize.register_parametrization(module, key, Mask(mask))
        else:
            held.mask &= mask


def masks_of(network: nn.Module) -> dict[str, Tensor]:
    """Return the masks that are held, by parameter name."""
    return {
        f"{name}.{key}" if name else key: item.mask
        for name, module in network.named_modules()
        if parametrize.is_parametrized(module)
        for key, chain in module.parametrizations.items()
        for item in chain
        if isinstance(item, Mask)
    }


def release(network: nn.Module) -> nn.Module:
    """Remove every parametrization in place and leave plain weights, as the forward pass saw them; return ``network``.

    Its state dict has the names again that it had before.
    """
    for module in network.modules():
        if parametrize.is_parametrized(module):
            # A deep copy shares the class that torch made for the parametrized module, and removal takes the parameter
            # out of that class: without a class of its own, releasing a copy would break the original.
            kind = type(module)
            module.__class__ = type(kind.__name__, kind.__bases__, dict(vars(kind)))
            for key in list(module.parametrizations):
                parametrize.remove_parametrizations(module, key, leave_parametrized=True)
    return network


def owner(network: nn.Module, name: str) -> tuple[nn.Module, str]:
    """Return the module that has the parameter ``name``, and the parameter's own name. Raises ConfigError."""
    path, _, key = name.rpartition(".")
    try:
        module = network.get_submodule(path)
        tensor = getattr(module, key)
    except AttributeError:
        tensor = None
    if not isinstance(tensor, Tensor):
        raise ConfigError(f"{type(network).__name__} has no parameter {name}")
    return module, key


def parametrization(module: nn.Module, key: str, kind: type[nn.Module]) -> nn.Module | None:
    """Return the parametrization of a ``kind`` on a module's parameter, or None."""
    if not parametrize.is_parametrized(module, key):
        return None
    return next((item for item in module.parametrizations[key] if isinstance(item, kind)), None)
