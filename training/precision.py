"""Half precision where the processor has it."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
from monai.inferers import Inferer
from torch import Tensor, nn

from oarseg.training.autocast import autocast

__all__ = ["AutocastInferer", "autocast"]


# PyTorch 2.13's bfloat16 gradients of 3 x 3 x 3 kernels were seen to hold whatever lay in memory, NaN or noise, where a
# feature map is two voxels deep (oneDNN, AVX-512 bf16): so it is below three poolings of fewer voxels than these.
LEAST_TRAINED = 24


class AutocastInferer(Inferer):
    """One pass of the network in half precision, logits back in float32. For training and for whole crops.

    On CPUs, images of fewer than ``LEAST_TRAINED`` voxels along an axis are trained on in float32.
    """

    def __call__(self, inputs: Tensor, network: nn.Module, *args: Any, **kwargs: Any) -> Tensor:
        inputs = inputs.as_tensor() if hasattr(inputs, "as_tensor") else inputs
        inputs = inputs.contiguous(memory_format=torch.channels_last_3d)
        small = inputs.device.type == "cpu" and min(inputs.shape[2:]) < LEAST_TRAINED
        with nullcontext() if small and torch.is_grad_enabled() else autocast(inputs.device):
            logits = network(inputs, *args, **kwargs)
        return logits.float()
