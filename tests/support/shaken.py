"""Networks as training leaves them, without training: random weights and lively BatchNorms."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn


def lively(network: nn.Module, seed: int = 0) -> nn.Module:
    """Random statistics, scales and shifts, as a trained network has them: a zeroed kernel alone would not be zero."""
    random = torch.Generator().manual_seed(seed)
    for name, tensor in network.state_dict().items():
        if tensor.ndim == 5:
            tensor.normal_(0, 0.1, generator=random)
        elif name.endswith("running_var"):
            tensor.uniform_(0.5, 2, generator=random)
        elif tensor.is_floating_point() and "standardize." not in name:
            tensor.normal_(0, 1, generator=random)
    return network


@pytest.fixture
def shaken() -> Callable[..., nn.Module]:
    """``shaken(network)``: the network with random weights and statistics."""
    return lively
