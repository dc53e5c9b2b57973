"""Normalisation as a layer, whose mean and standard deviation travel with the weights."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn


class Standardize(nn.Module):
    """(x - mean) / std (eq. 3-5), so that a config can chain it with any network: ``torch.nn.Sequential``.

    Args: ``mean``, ``std``: of the training intensities. They are part of the state dict, so that weights are used
    with the statistics they were trained with. Weights without them (all that oarseg 0.1 wrote) leave those given
    here, which are the site table's. Raises ValueError where ``std`` is not positive.
    Input and output of any shape.
    """

    def __init__(self, mean: float, std: float) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(float(mean)))
        self.register_buffer("std", torch.tensor(float(std)))
        self.set(mean, std)

    def set(self, mean: float, std: float) -> None:
        """Normalise by these from now on. Raises ValueError where ``std`` is not positive."""
        if not std > 0:
            raise ValueError(f"std must be positive, not {std}")
        self.mean.fill_(float(mean))
        self.std.fill_(float(std))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std

    def _load_from_state_dict(self, state: dict, prefix: str, *args: object) -> None:
        for name in ("mean", "std"):
            state.setdefault(prefix + name, getattr(self, name))
        super()._load_from_state_dict(state, prefix, *args)


def standardizers(network: nn.Module) -> Iterator[Standardize]:
    """Yield the normalising layers of a network, also of one that is wrapped for distributed training."""
    return (module for module in network.modules() if isinstance(module, Standardize))
