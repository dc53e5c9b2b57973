"""The whole number by which a network needs the sizes of its images to be divisible."""

from __future__ import annotations

from torch import nn


def network_factor(network: nn.Module) -> int:
    """What the sizes of its input must be multiples of: its own word, or 8 as for the networks of MONAI used here."""
    return getattr(network, "factor", 8)
