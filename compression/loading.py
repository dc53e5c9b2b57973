"""Packed weight files as PyTorch's state dicts, for networks they may not belong to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from oarseg.errors import WeightsError
from oarseg.inference.engines.packed.reading import arrays, read_arrays
from oarseg.training.weights import fit


def read_packed(path: str | Path, network: nn.Module | None = None) -> dict[str, Tensor]:
    """Return the state dict in a packed weight file.

    ``network``: the network that the weights should fit. Raises WeightsError if the file is missing, damaged, of a
    later version, of another network, or absurdly large.
    """
    state = read_arrays(path)
    try:
        return _tensors(state, network)
    except WeightsError as error:
        raise WeightsError(f"{path} {error}") from error


def load_packed(network: nn.Module, path: str | Path) -> None:
    """Copy a packed weight file into ``network``. Raises WeightsError as :func:`read_packed` does."""
    fit(network, read_packed(path, network), path)


def unpacked(data: bytes, network: nn.Module | None = None) -> dict[str, Tensor]:
    """Return the state dict in the bytes of a packed weight file. See :func:`read_packed`."""
    return _tensors(arrays(data), network)


def _tensors(state: Mapping[str, np.ndarray], network: nn.Module | None) -> dict[str, Tensor]:
    if network is not None:
        _same_network({name: array.shape for name, array in state.items()}, network)
    # Copies, as what NumPy made of bytes is read-only.
    return {name: torch.from_numpy(array.copy()) for name, array in state.items()}


def _same_network(found: Mapping[str, tuple[int, ...]], network: nn.Module) -> None:
    """Raise WeightsError, naming the first difference, where the tensors are not the network's.

    Files of oarseg 0.1 lack the mean and spread of the intensities; the network then keeps its own.
    """
    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    expected = {name: shape for name, shape in expected.items() if name in found or "standardize." not in name}
    for name in sorted(found.keys() | expected.keys()):
        if found.get(name) != expected.get(name):
            raise WeightsError(
                f"belongs to another network: {name} is {found.get(name, 'not there')}, "
                f"this network's is {expected.get(name, 'not there')}"
            )
