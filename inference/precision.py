"""Half precision where the processor has it."""

from __future__ import annotations

from typing import Any

import torch
from monai.inferers import Inferer
from torch import Tensor, nn

from oarseg.inference.engines.half import autocast

__all__ = ["AutocastInferer", "autocast"]


class AutocastInferer(Inferer):
    """One pass of the network in half precision, logits back in float32. For training and for whole crops."""

    def __call__(self, inputs: Tensor, network: nn.Module, *args: Any, **kwargs: Any) -> Tensor:
        inputs = inputs.as_tensor() if hasattr(inputs, "as_tensor") else inputs
        inputs = inputs.contiguous(memory_format=torch.channels_last_3d)
        with autocast(inputs.device):
            logits = network(inputs, *args, **kwargs)
        return logits.float()
