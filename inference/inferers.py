"""Both stages, and the first alone, as MONAI calls them: tensors with meta data in and out, PyTorch networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.inferers import Inferer
from monai.utils import convert_to_dst_type
from torch import Tensor, nn

from oarseg.errors import ConfigError
from oarseg.geometry.grid import image_grid
from oarseg.geometry.volume import Volume
from oarseg.inference.engines import numpy_network
from oarseg.inference.modules import array_networks
from oarseg.inference.two_stage import Progress, TwoStageResult, chosen_organs, run_stages, stage_one
from oarseg.networks import TwoStageNet
from oarseg.sites import Site


class TwoStageInferer(Inferer):
    """Segments a whole CT with a :class:`oarseg.networks.TwoStageNet`, or one organ with its own network.

    Args:
        site: the organ table.
        organs: keys to segment; all of them by default.
        localizer: stage-1 network, where ``network`` is a single organ's and does not bring one.
        amp: False for float32, where the network would otherwise compute in half precision.
    Input (1, 1, D, H, W) in SPL orientation with an affine (a MetaTensor), scaled by eq. 3-2. Output uint8 of the same
    shape: label values of the site table. An organ that is not found is left out and never ends the run. Where organs
    overlap, :class:`oarseg.geometry.canvas.Canvas` decides. What is between the passes of the networks is computed on
    the CPU.
    """

    def __init__(
        self,
        site: Site,
        organs: Sequence[str] | None = None,
        localizer: nn.Module | None = None,
        amp: bool = True,
    ) -> None:
        self.site, self.organs, self.localizer = site, chosen_organs(site, organs), localizer
        self.amp = amp

    def __call__(self, inputs: Tensor, network: nn.Module, *args: Any, **kwargs: Any) -> Tensor:
        return like(self.segment(inputs, network).label, inputs)

    def segment(self, inputs: Tensor, network: nn.Module, progress: Progress | None = None) -> TwoStageResult:
        """Return what a call computes, with boxes, reasons and seconds. ``progress`` is called as each step begins."""
        localizer, organs = self._networks(network)
        networks = array_networks(localizer, organs, inputs.device, self.amp)
        return run_stages(volume_of(inputs), networks, self.site, self.organs, progress)

    def _networks(self, network: nn.Module) -> tuple[nn.Module, Mapping[str, nn.Module]]:
        network = getattr(network, "module", network)  # out of DistributedDataParallel
        if isinstance(network, TwoStageNet):
            return self.localizer or network.localizer, network.organs
        if self.localizer is None or len(self.organs) != 1:
            raise ConfigError("a single organ's network needs a localizer and exactly one organ")
        return self.localizer, {self.organs[0].key: network}


class LocalizerInferer(Inferer):
    """Stage 1 alone, mapped back to the original grid.

    Input (1, 1, D, H, W) in SPL orientation with an affine (a MetaTensor), scaled by eq. 3-2. Output uint8 of the same
    shape: label values of the site table.
    """

    def __init__(self, site: Site, amp: bool = True) -> None:
        self.site, self.amp = site, amp

    def __call__(self, inputs: Tensor, network: nn.Module, *args: Any, **kwargs: Any) -> Tensor:
        return like(stage_one(volume_of(inputs), numpy_network(network, inputs.device, self.amp), self.site), inputs)


def volume_of(inputs: Tensor) -> Volume:
    """Return the image of a batch of one, (1, 1, D, H, W) with an affine. Raises ConfigError for another batch."""
    if inputs.shape[:2] != (1, 1) or inputs.ndim != 5:
        raise ConfigError(f"two-stage inference takes one image of one channel, not a batch {tuple(inputs.shape)}")
    affine = inputs.affine.reshape(-1, 4, 4)[0].cpu()
    return Volume(inputs.as_tensor()[0, 0].cpu().numpy(), image_grid(inputs.shape[2:], affine))


def like(label: np.ndarray, inputs: Tensor) -> Tensor:
    """Return ``label`` (D, H, W) as (1, 1, D, H, W) with the meta data of ``inputs``.

    Invertd and SaveImaged need them.
    """
    return convert_to_dst_type(torch.from_numpy(label)[None, None], inputs, dtype=torch.uint8)[0]
