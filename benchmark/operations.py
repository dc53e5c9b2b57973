"""Floating-point operations of the networks' passes, counted by PyTorch without computing anything."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from oarseg.compression.structure import widths_of
from oarseg.errors import ConfigError, WeightsError
from oarseg.inference.bundle import read_bundle
from oarseg.inference.engines.stored import FOLDER as COMPRESSED
from oarseg.inference.engines.stored import read_table
from oarseg.inference.modules import load_modules
from oarseg.inference.two_stage import LOCALIZER
from oarseg.networks import UNet3d

Passes = Mapping[str, Sequence[Sequence[int]]]


def gflop_of_passes(bundle_root: Path, compressed: bool, passes: Passes) -> dict[str, float]:
    """GFLOP by network of all its ``passes`` (D, H, W); networks that did not run are left out.

    Convolutions only, a multiplication and an addition counted as two, in whatever precision they are computed.
    ``compressed``: of the bundle's compressed networks.
    """
    networks = compressed_networks(bundle_root) if compressed else plain_networks(bundle_root)
    return {
        name: round(sum(gflop(networks[name], tuple(size)) for size in sizes), 3)
        for name, sizes in passes.items()
        if sizes
    }


def gflop(network: nn.Module, size: tuple[int, ...]) -> float:
    """GFLOP of one pass over an image of one channel and ``size`` (D, H, W)."""
    shell = copy.deepcopy(network).to("meta").eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        shell(torch.empty(1, 1, *size, device="meta"))
    return counter.get_total_flops() / 1e9


def plain_networks(bundle_root: Path) -> dict[str, nn.Module]:
    """The uncompressed networks of a bundle by name."""
    network = load_modules(read_bundle(bundle_root), "cpu")
    return {LOCALIZER: network.localizer, **network.organs}


def compressed_networks(bundle_root: Path) -> dict[str, nn.Module]:
    """The compressed networks of a bundle by name: their widths, without weights. Raises WeightsError."""
    table = read_table(bundle_root / COMPRESSED)
    if table is None:
        raise WeightsError(f"{bundle_root / COMPRESSED} holds no compressed networks; calibrate the bundle")
    return {name: _network(row.state(), row.path) for name, row in table.rows.items()}


def _network(state: Mapping, path: Path) -> nn.Module:
    try:
        return UNet3d(len(state["head.weight"]), widths=widths_of(state))
    except (KeyError, ValueError, ConfigError) as error:
        raise WeightsError(f"{path} is no UNet3d's: {error}") from error
