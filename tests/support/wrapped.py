"""A network inside another module, as PyTorch's wrappers hold it."""

from __future__ import annotations

import torch
from torch import nn


class Wrapped(nn.Module):
    """As DistributedDataParallel holds a network."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.module(image)
