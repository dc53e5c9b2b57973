"""Which layers compression works on, in any network of :mod:`oarseg.networks`."""

from __future__ import annotations

from torch import Tensor, nn

from oarseg.errors import ConfigError

CONVOLUTIONS = (nn.Conv3d, nn.ConvTranspose3d)
NORMS = (nn.BatchNorm3d,)
OUTPUT = "head"


def convolutions(network: nn.Module) -> dict[str, nn.Module]:
    """Return all convolutions by name, transposed ones included, in the order of the network's modules.

    Raises ConfigError where there is none.
    """
    found = {name: module for name, module in network.named_modules() if isinstance(module, CONVOLUTIONS)}
    if not found:
        raise ConfigError(f"{type(network).__name__} has no 3D convolution; there is nothing to compress")
    return found


def kernels(network: nn.Module) -> dict[str, Tensor]:
    """Return the kernels of all convolutions by parameter name, as the forward pass uses them (masked, quantized)."""
    return {f"{name}.weight": module.weight for name, module in convolutions(network).items()}


def output_channel(module: nn.Module) -> int:
    """Return the dimension of a convolution's weight that counts its kernels: 0, or 1 where it is transposed."""
    return 1 if isinstance(module, nn.ConvTranspose3d) else 0


def sparsity(network: nn.Module) -> float:
    """Return the share of the kernels' weights that are zero."""
    weights = list(kernels(network).values())
    return sum(int((w == 0).sum()) for w in weights) / sum(w.numel() for w in weights)
