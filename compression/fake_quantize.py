"""Fake quantization: the forward pass sees levels, training moves the weights behind them (algorithm 4-3).

A quantizer is a parametrization of a kernel, as masks are. The gradient goes straight through to the full-precision
weight (Bengio et al., arXiv:1308.3432). Biases and BatchNorm stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from oarseg.compression.layers import convolutions, output_channel
from oarseg.compression.levels import Levels, fitted_scale, table
from oarseg.compression.masks import Mask, hold, masks_of, parametrization, release
from oarseg.errors import ConfigError


@dataclass(frozen=True)
class Quantized:
    """A kernel as it is stored: ``values[codes] * scale``.

    ``codes``: uint8, of the kernel's shape. ``values``: float32, by code. ``scale``: float32, broadcast to the kernel.
    """

    codes: Tensor
    values: Tensor
    scale: Tensor

    def weight(self) -> Tensor:
        """The kernel, float32: exactly what the network computed with."""
        return decoded(self.codes, self.values, self.scale)


def decoded(codes: Tensor, values: Tensor, scale: Tensor) -> Tensor:
    """Return ``values[codes] * scale``: the one place where levels become weights, so that packed ones are the same."""
    return values[codes.long()] * scale


class FakeQuantize(nn.Module):
    """Parametrization that replaces each weight by its level.

    Args: ``levels``: the table. ``scale``: what the table is multiplied by (broadcast to the weight). ``learned``:
    train the scale with the weights, as learned step size quantization does (Esser et al., ICLR 2020). It is then
    stored as a logarithm: it stays positive, and Adam's steps are relative to it.
    """

    def __init__(self, levels: Levels, scale: Tensor, learned: bool = False) -> None:
        super().__init__()
        self.levels, self.learned = levels, learned
        self.register_buffer("values", torch.tensor(levels.values))
        if learned:
            self.log_scale = nn.Parameter(scale.detach().float().log())
        else:
            self.register_buffer("fixed_scale", scale.detach().float().clone())

    @property
    def scale(self) -> Tensor:
        return self.log_scale.exp() if self.learned else self.fixed_scale

    def forward(self, weight: Tensor) -> Tensor:
        return _StraightThrough.apply(weight, self.scale, self.values, self.levels)

    @torch.no_grad()
    def quantized(self, weight: Tensor) -> Quantized:
        """Return the stored form of the full-precision ``weight``."""
        scale = self.scale.detach()
        return Quantized(self.levels.codes(weight / scale), self.values, scale)


class _StraightThrough(torch.autograd.Function):
    """Levels forwards. Backwards the gradient of the level becomes that of the weight; a scale that learns has its own.

    With a learned scale the weights beyond the last level get none, and the scale gets, summed over the weights, level
    minus weight in units of the scale (the level alone beyond the last one), divided by sqrt(weights x last level).
    """

    @staticmethod
    def forward(ctx: object, weight: Tensor, scale: Tensor, values: Tensor, levels: Levels) -> Tensor:
        codes = levels.codes(weight / scale)
        if ctx.needs_input_grad[1]:
            ctx.save_for_backward(weight, scale, values, codes)
        return decoded(codes, values, scale)

    @staticmethod
    def backward(ctx: object, grad: Tensor) -> tuple:
        if not ctx.needs_input_grad[1]:
            return grad, None, None, None
        weight, scale, values, codes = ctx.saved_tensors
        unit, last = weight / scale, values[-1]
        inside = unit.abs() < last
        slope = values[codes.long()] - torch.where(inside, unit, 0.0)
        of_scale = (grad * slope).sum_to_size(scale.shape) / (weight.numel() * last) ** 0.5
        return grad * inside, of_scale, None, None


def quantize(network: nn.Module, count: int, scheme: str = "printed") -> None:
    """Quantize the kernels of all convolutions of ``network`` in place to ``count`` levels of a scheme.

    Masks that are held stay, and what they zero stays zero, whatever the table. See :func:`oarseg.compression.table`
    for the schemes. Raises ConfigError for an unknown scheme or count, and where the network is quantized already or
    has weights that are not finite.
    """
    levels, masks = table(count, scheme), masks_of(network)
    layers = convolutions(network)
    for name, module in layers.items():
        if parametrization(module, "weight", FakeQuantize):
            raise ConfigError(f"{name} is quantized already; begin with full-precision weights")
        if not torch.isfinite(module.weight).all():
            raise ConfigError(f"{name} has weights that are not finite; there is nothing to quantize")
    # Masks last, so that a table without zero does not bring back what is pruned.
    release(network)
    for module in layers.values():
        weight = module.weight.detach()
        if scheme in ("printed", "centres"):
            scale = torch.ones([1] * weight.ndim, device=weight.device)
        else:
            scale = fitted_scale(weight, levels, output_channel(module) if scheme == "channel" else None)
        parametrize.register_parametrization(module, "weight", FakeQuantize(levels, scale, scheme == "learned"))
    hold(network, masks)


def quantized(network: nn.Module) -> dict[str, Quantized]:
    """Return the stored form of every quantized kernel, by parameter name; empty if the network is not quantized."""
    found = {}
    for name, module in convolutions(network).items():
        quantizer = parametrization(module, "weight", FakeQuantize)
        if quantizer is None:
            continue
        kernel = quantizer.quantized(module.parametrizations["weight"].original.detach())
        mask = parametrization(module, "weight", Mask)
        found[f"{name}.weight"] = kernel if mask is None else _masked(kernel, mask.mask)
    return found


def _masked(kernel: Quantized, mask: Tensor) -> Quantized:
    """Return a kernel with zeros outside the mask; a table that has no zero gets one, as its last code."""
    zero = torch.nonzero(kernel.values == 0).flatten()
    values = kernel.values if len(zero) else torch.cat([kernel.values, kernel.values.new_zeros(1)])
    code = int(zero[0]) if len(zero) else len(values) - 1
    return Quantized(torch.where(mask, kernel.codes, code).to(torch.uint8), values, kernel.scale)
