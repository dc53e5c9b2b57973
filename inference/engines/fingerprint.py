"""What tells two networks apart, for the cache of compiled ones."""

from __future__ import annotations

import hashlib
from itertools import chain

from torch import nn


def fingerprint(network: nn.Module) -> str:
    """Hex SHA-256 of all parameters and buffers by name, those that no weight file holds (mean, std) included."""
    digest = hashlib.sha256()
    for name, tensor in sorted(chain(network.named_parameters(), network.named_buffers())):
        values = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {values.dtype} {tuple(values.shape)}\n".encode())
        digest.update(values.numpy().tobytes())
    return digest.hexdigest()
