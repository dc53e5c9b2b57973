"""The geometry of :mod:`oarseg.geometry` for tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from monai.data import MetaTensor
from torch import Tensor

from oarseg.geometry import grid
from oarseg.geometry.grid import Grid


def resample(volume: Any, source: Grid, target: Grid, mode: str = "linear", values: Callable | None = None) -> Any:
    """Return the values of ``volume`` at the voxel centres of ``target``: see :func:`oarseg.geometry.grid.resample`.

    Args: ``volume`` (C, D, H, W): a tensor on any device, or an array. Returns ``(C, *target.shape)``: a tensor on the
    same device, or an array.
    """
    if not isinstance(volume, Tensor):
        return grid.resample(volume, source, target, mode, values)
    array = grid.resample(volume.detach().cpu().numpy(), source, target, mode, values)
    return torch.from_numpy(array).to(volume.device)


def with_affine(values: Tensor, affine: Tensor, source: MetaTensor) -> MetaTensor:
    """Return ``values`` with their own affine and a copy of the other meta data of ``source``."""
    return MetaTensor(values, affine=affine, meta={k: v for k, v in source.meta.items() if k != "affine"})
