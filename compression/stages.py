"""The change that each stage of the chain makes to a network before retraining."""

from __future__ import annotations

import torch
from torch import nn

from oarseg.compression.channels import channel_masks, zero_channel_masks
from oarseg.compression.fake_quantize import quantize
from oarseg.compression.masks import hold
from oarseg.compression.steps import Step
from oarseg.compression.structure import rebuilt, remove_channels
from oarseg.compression.threshold import nonzero_masks, threshold_masks

STAGES = ("channels", "remove", "threshold", "levels")
START = Step("start", "weights")


def prepared(network: nn.Module, step: Step) -> tuple[nn.Module, dict]:
    """Return the network that a step retrains (``network`` masked or quantized, or a smaller one), and facts on it.

    Channels that were removed cannot come back; weights that are zero are masked again at every later step.
    """
    # Their BatchNorm with them, where they have not been removed.
    hold(network, zero_channel_masks(network))
    if step.stage == "channels":
        hold(network, channel_masks(network, step.settings["ratio"], step.settings["ranking"], _seed(step)))
        return network, {"bytes_removed": 4 * sum(p.numel() for p in remove_channels(network).parameters())}
    if step.stage == "remove":
        cut = rebuilt(remove_channels(network))
        return cut, {"largest_difference": _difference(network, cut)}
    if step.stage == "threshold":
        hold(network, threshold_masks(network, step.settings["threshold"]))
    elif step.stage == "levels":
        hold(network, nonzero_masks(network))
        quantize(network, step.settings["levels"], step.settings["scheme"])
    return network, {}


def _seed(step: Step) -> int:
    return int(step.settings.get("seed", 0))


@torch.no_grad()
def _difference(network: nn.Module, cut: nn.Module) -> float:
    """Return the largest absolute difference of logits on noise, which rounding alone should cause."""
    image = torch.rand(1, 1, *[2 * network.factor] * 3, generator=torch.Generator().manual_seed(0))
    return float((network.cpu().eval()(image) - cut.eval()(image)).abs().max())
