"""A two-stage bundle's networks as PyTorch modules."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from oarseg.checksum import verified
from oarseg.errors import WeightsError
from oarseg.inference.bundle import TABLE, Bundle
from oarseg.inference.engines import numpy_network
from oarseg.inference.localize import Network
from oarseg.inference.two_stage import LOCALIZER
from oarseg.networks.two_stage import TwoStageNet, localizer_net
from oarseg.sites import load_site
from oarseg.training.weights import load_weights


def load_modules(bundle: Bundle, device: str) -> TwoStageNet:
    """Return the networks of ``bundle`` with their weights, on ``device``, for evaluation. Raises WeightsError."""
    network = TwoStageNet.for_site(bundle.site)
    load_weights(network, bundle.weight_file)
    return network.to(device=device, memory_format=torch.channels_last_3d).eval()


def array_networks(
    localizer: nn.Module, organs: Mapping[str, nn.Module], device: torch.device | str, amp: bool = True
) -> dict[str, Network]:
    """Return modules on ``device`` as functions of arrays, by name."""
    return {name: numpy_network(part, device, amp) for name, part in {LOCALIZER: localizer, **organs}.items()}


def load_localizer(bundle_root: str, device: torch.device | str) -> nn.Module:
    """Return the localizer of a bundle folder with its weights, for an organ's bundle that has boxes from nowhere else.

    Raises WeightsError where it does not lie there.
    """
    folder = Path(bundle_root)
    if not (folder / TABLE).is_file():
        raise WeightsError(f"no localizer bundle at {folder}; put {folder.name} there, or set localizer_root")
    network = localizer_net(load_site(str(folder / TABLE)))
    load_weights(network, verified(folder)[0])
    return network.to(device=device, memory_format=torch.channels_last_3d).eval()
