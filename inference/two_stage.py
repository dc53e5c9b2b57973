"""Both stages: locate, enlarge the box, cut it out of the original image, segment, map back."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from monai.inferers import Inferer
from monai.utils import convert_to_dst_type
from torch import Tensor, nn

from oarseg.errors import ConfigError
from oarseg.inference.canvas import Canvas
from oarseg.inference.localize import Located, keep_piece, largest_piece, locate
from oarseg.inference.precision import AutocastInferer
from oarseg.networks import TwoStageNet
from oarseg.sites import Site
from oarseg.transforms import Box, image_grid, resample

Progress = Callable[[str], None]


@dataclass
class TwoStageResult:
    """What came of it.

    ``label`` (D, H, W) uint8 on the grid of the input. ``boxes``: enlarged stage-1 boxes by organ key, mm along the
    input's axes. ``missing``: why an organ was left out, by key. ``seconds``: time spent by step.
    """

    label: Tensor
    boxes: dict[str, Box] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


class TwoStageInferer(Inferer):
    """Segments a whole CT with a :class:`oarseg.networks.TwoStageNet`, or one organ with its own network.

    Args:
        site: the organ table.
        organs: keys to segment; all of them by default.
        localizer: stage-1 network, where ``network`` is a single organ's and does not bring one.
    Input (1, 1, D, H, W) in SPL orientation with an affine (a MetaTensor), scaled by eq. 3-2. Output uint8 of the same
    shape: label values of the site table. An organ that is not found is left out and never ends the run. Where organs
    overlap, :class:`oarseg.inference.canvas.Canvas` decides.
    """

    def __init__(self, site: Site, organs: Sequence[str] | None = None, localizer: nn.Module | None = None) -> None:
        self.site = site
        self.organs = [site.organ(key) for key in organs] if organs else list(site.organs)
        self.organs.sort(key=lambda organ: organ.value)
        self.localizer = localizer
        self.run_network = AutocastInferer()

    def __call__(self, inputs: Tensor, network: nn.Module, *args: Any, **kwargs: Any) -> Tensor:
        # With the image's meta data: Invertd and SaveImaged find their way back by it.
        return convert_to_dst_type(self.segment(inputs, network).label[None, None], inputs, dtype=torch.uint8)[0]

    @torch.no_grad()
    def segment(self, inputs: Tensor, network: nn.Module, progress: Progress | None = None) -> TwoStageResult:
        """As calling it, with boxes, reasons and timings. ``progress`` is told each step as it begins."""
        tell = progress or (lambda step: None)
        if inputs.shape[:2] != (1, 1) or inputs.ndim != 5:
            raise ConfigError(f"two-stage inference takes one image of one channel, not a batch {tuple(inputs.shape)}")
        localizer, networks = self._networks(network)
        image = inputs.as_tensor()[0]
        canvas = Canvas(image_grid(image.shape[1:], inputs.affine.reshape(-1, 4, 4)[0].cpu()), image.device)
        result = TwoStageResult(canvas.label)
        tell("stage 1: locating organs")
        began = time.perf_counter()
        located = locate(image, canvas.grid, localizer, self.site)
        result.seconds["localize"] = time.perf_counter() - began
        began = time.perf_counter()
        for organ in self.organs:
            if organ.key not in located:
                result.missing[organ.key] = "stage 1 did not find it"
                continue
            tell(f"stage 2: {organ.title}")
            self.segment_organ(image, canvas, located[organ.key], networks[organ.key], result)
        result.seconds["segment"] = time.perf_counter() - began
        return result

    def segment_organ(
        self, image: Tensor, canvas: Canvas, located: Located, network: nn.Module, result: TwoStageResult
    ) -> None:
        """Cut ``located``'s enlarged box out of ``image`` (1, D, H, W), segment it and paint it onto ``canvas``."""
        organ = located.organ
        box = located.box.enlarged(organ.margin_mm, organ.field_mm)
        grid = box.grid(organ.grid)
        logits = self.run_network(resample(image, canvas.grid, grid)[None], network)[0]
        probability = torch.sigmoid(logits[1] - logits[0])
        piece = largest_piece((probability >= 0.5).cpu().numpy())
        if canvas.paint(organ.value, keep_piece(probability, piece), grid):
            result.boxes[organ.key] = box
        else:
            result.missing[organ.key] = "stage 2 found nothing in stage 1's box"

    def _networks(self, network: nn.Module) -> tuple[nn.Module, Mapping[str, nn.Module]]:
        network = getattr(network, "module", network)  # out of DistributedDataParallel
        if isinstance(network, TwoStageNet):
            return self.localizer or network.localizer, network.organs
        if self.localizer is None or len(self.organs) != 1:
            raise ConfigError("a single organ's network needs a localizer and exactly one organ")
        return self.localizer, {self.organs[0].key: network}
