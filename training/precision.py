"""Half precision where the processor has it."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from monai.inferers import Inferer
from torch import Tensor, nn

from oarseg.errors import ConfigError
from oarseg.networks.factor import has_factor, network_factor, smallest_map
from oarseg.training.autocast import autocast

__all__ = ["AutocastInferer", "autocast"]


# PyTorch 2.13's bfloat16 gradients of 3 x 3 x 3 kernels were seen to hold whatever lay in memory, NaN or noise, where a
# feature map is two voxels deep (oneDNN, AVX-512 bf16). Maps of fewer voxels than these are trained on in float32.
LEAST_MAP = 3


class AutocastInferer(Inferer):
    """One pass of the network in half precision, logits back in float32. For training and for whole crops.

    Images that the network's factor does not divide are padded with air (0) at their ends, the logits cut again.
    On CPUs, networks whose smallest feature map has fewer than ``LEAST_MAP`` voxels along an axis are trained in
    float32.
    Args: ``amp``: False for float32 everywhere. Raises ConfigError where a network takes no image.
    """

    def __init__(self, amp: bool = True) -> None:
        self.amp = amp

    def __call__(self, inputs: Tensor, network: nn.Module, *args: Any, **kwargs: Any) -> Tensor:
        inputs = inputs.as_tensor() if hasattr(inputs, "as_tensor") else inputs
        inputs, size = padded(inputs, network_factor(network)), inputs.shape[2:]
        inputs = inputs.contiguous(memory_format=torch.channels_last_3d)
        with autocast(inputs.device) if self._half(inputs, network) else nullcontext():
            logits = self._pass(inputs, network, *args, **kwargs)
        return logits.float()[..., : size[0], : size[1], : size[2]]

    @staticmethod
    def _pass(inputs: Tensor, network: nn.Module, *args: Any, **kwargs: Any) -> Tensor:
        try:
            return network(inputs, *args, **kwargs)
        except Exception as error:  # whatever another's network raises, such as one for images of one size
            if has_factor(network):
                raise
            name, size = type(getattr(network, "module", network)).__name__, " x ".join(map(str, inputs.shape[2:]))
            raise ConfigError(f"network {name} fails with {size} voxels, as with all sizes tried: {error}") from error

    def _half(self, inputs: Tensor, network: nn.Module) -> bool:
        if not self.amp or inputs.device.type != "cpu" or not torch.is_grad_enabled():
            return self.amp
        return smallest_map(network, min(inputs.shape[2:])) >= LEAST_MAP


def padded(image: Tensor, factor: int) -> Tensor:
    """Return ``image`` (B, C, D, H, W) with air (0) at its ends, so that ``factor`` divides its sizes."""
    depth, height, width = (-n % factor for n in image.shape[2:])
    return F.pad(image, (0, width, 0, height, 0, depth)) if depth or height or width else image
