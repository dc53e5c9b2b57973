"""One network over a volume of any size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from monai.inferers import Inferer, sliding_window_inference
from torch import Tensor, nn

from oarseg.inference.sliding import deepened
from oarseg.training.precision import AutocastInferer


class WindowInferer(Inferer):
    """Logits for a whole volume: one pass where it fits into the window, else overlapping windows blended.

    Args: ``window``: D, H, W voxels of the largest pass, see ``oarseg.inference.sliding.deepened``. ``overlap``:
    share of a window that the next one repeats. ``factor``: what the network's sizes must divide by; smaller volumes
    are padded to it with air (0).
    Input (1, 1, D, H, W), output (1, C, D, H, W) float32.
    """

    def __init__(self, window: Sequence[int], overlap: float = 0.25, factor: int = 8) -> None:
        self.window, self.overlap, self.factor = tuple(window), overlap, factor
        self.pass_once = AutocastInferer()

    def __call__(self, inputs: Tensor, network: nn.Module, *args: Any, **kwargs: Any) -> Tensor:
        inputs = inputs.as_tensor() if hasattr(inputs, "as_tensor") else inputs
        size = inputs.shape[2:]
        padding = [(-n % self.factor) for n in size]
        padded = F.pad(inputs, (0, padding[2], 0, padding[1], 0, padding[0]))
        window = deepened(self.window, padded.shape[2:], self.factor)
        if tuple(padded.shape[2:]) == window:
            # Blending one window would hold its logits and weights three times, hundreds of MB for a localizer.
            logits = self.pass_once(padded, network)
        else:
            logits = sliding_window_inference(
                padded, window, 1, lambda x: self.pass_once(x, network), overlap=self.overlap, mode="gaussian"
            )
        return torch.as_tensor(logits)[..., : size[0], : size[1], : size[2]]
