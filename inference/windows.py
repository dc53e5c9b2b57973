"""One network over a volume of any size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from monai.inferers import Inferer, sliding_window_inference
from torch import Tensor, nn

from oarseg.inference.localize import deepened
from oarseg.networks.factor import network_factor
from oarseg.training.precision import AutocastInferer, padded


class WindowInferer(Inferer):
    """Logits for a whole volume: one pass where it fits into the window, else overlapping windows blended.

    Args: ``window``: D, H, W voxels of the largest pass, see ``oarseg.inference.localize.deepened``. ``overlap``:
    share of a window that the next one repeats. ``factor``: what the network's sizes must divide by; by default the
    network's own (see ``oarseg.networks.factor``). Volumes that it does not divide are padded with air (0). ``amp``:
    False for float32.
    Input (1, 1, D, H, W), output (1, C, D, H, W) float32.
    """

    def __init__(
        self, window: Sequence[int], overlap: float = 0.25, factor: int | None = None, amp: bool = True
    ) -> None:
        self.window, self.overlap, self.factor = tuple(window), overlap, factor
        self.pass_once = AutocastInferer(amp)

    def __call__(self, inputs: Tensor, network: nn.Module, *args: Any, **kwargs: Any) -> Tensor:
        inputs = inputs.as_tensor() if hasattr(inputs, "as_tensor") else inputs
        factor, size = self.factor or network_factor(network), inputs.shape[2:]
        inputs = padded(inputs, factor)
        window = deepened(self.window, inputs.shape[2:], factor)
        if tuple(inputs.shape[2:]) == window:
            # Blending one window would hold its logits and weights three times, hundreds of MB for a localizer.
            logits = self.pass_once(inputs, network)
        else:
            logits = sliding_window_inference(
                inputs, window, 1, lambda x: self.pass_once(x, network), overlap=self.overlap, mode="gaussian"
            )
        return torch.as_tensor(logits)[..., : size[0], : size[1], : size[2]]
