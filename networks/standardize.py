"""Normalisation as a layer, for networks that do not bring their own."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Standardize(nn.Module):
    """(x - mean) / std (eq. 3-5), so that a config can chain it with any network: ``torch.nn.Sequential``.

    Args: ``mean``, ``std``: of the training intensities. They belong to the configuration, not to the state dict (see
    :class:`oarseg.networks.UNet3d`). Raises ValueError where ``std`` is not positive.
    Input and output of any shape.
    """

    def __init__(self, mean: float, std: float) -> None:
        super().__init__()
        if not std > 0:
            raise ValueError(f"std must be positive, not {std}")
        self.register_buffer("mean", torch.tensor(float(mean)), persistent=False)
        self.register_buffer("std", torch.tensor(float(std)), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std
