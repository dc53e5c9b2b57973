"""Threshold pruning (algorithm 4-2): weights close to zero are masked, one by one."""

from __future__ import annotations

from torch import Tensor, nn

from oarseg.compression.layers import kernels
from oarseg.errors import ConfigError


def threshold_masks(network: nn.Module, threshold: float) -> dict[str, Tensor]:
    """Return masks that zero every kernel weight with an absolute value below ``threshold``; biases and BatchNorm stay.

    Returns bool masks by parameter name, for :func:`oarseg.compression.hold`; what is zero already stays so. Raises
    ConfigError where the threshold is not positive or would empty a layer.
    """
    if not threshold > 0:
        raise ConfigError(f"threshold must be positive, not {threshold}")
    masks = {name: weight.detach().abs() >= threshold for name, weight in kernels(network).items()}
    for name, mask in masks.items():
        if not mask.any():
            raise ConfigError(f"threshold {threshold:g} would empty {name.removesuffix('.weight')}; take a smaller one")
    return masks


def nonzero_masks(network: nn.Module) -> dict[str, Tensor]:
    """Return masks that hold the kernel weights at zero that are zero now."""
    return {name: weight.detach() != 0 for name, weight in kernels(network).items()}
