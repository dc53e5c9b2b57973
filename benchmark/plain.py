"""The reference of every benchmark: networks as they were trained, by plain PyTorch."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


class PlainTorch:
    """An engine that changes nothing: BatchNorm not folded, float32, eager, contiguous tensors."""

    name = "torch"
    precision = "fp32, eager, contiguous"

    def ready(self, network: nn.Module, name: str = "") -> nn.Module:
        """A copy of ``network`` on its own device. ``name`` is not needed here."""
        return Contiguous(copy.deepcopy(network).to(memory_format=torch.contiguous_format).requires_grad_(False))


class Contiguous(nn.Module):
    """A network in float32 on contiguous images, whatever the caller prefers."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        with torch.autocast(image.device.type, enabled=False):
            return self.network(image.float().contiguous())
