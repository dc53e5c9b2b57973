"""PyTorch, on every device that it knows: the reference."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import nullcontext
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from oarseg.errors import ConfigError
from oarseg.inference.engines.choose import PRECISIONS
from oarseg.networks.factor import network_factor
from oarseg.training.autocast import autocast, has_bf16


class TorchEngine:
    """Folds BatchNorm, lays weights out channels-last, and computes in bfloat16 where the device has it.

    Args: ``precision``: "bf16", "fp32", or None for what the device is quickest with. Raises ConfigError for another
    one, or for bf16 on a CPU without it, where PyTorch would emulate it slowly.
    """

    name = "torch"

    def __init__(self, device: torch.device | str = "cpu", precision: str | None = None) -> None:
        self.device = torch.device(device)
        self.precision = precision or ("bf16" if has_bf16(self.device) else "fp32")
        if self.precision not in PRECISIONS["torch"]:
            raise ConfigError(f"the engine torch computes in {' or '.join(PRECISIONS['torch'])}, not {precision!r}")
        if self.precision == "bf16" and not has_bf16(self.device):
            raise ConfigError(f"{self.device} has no bfloat16 (AVX-512 bf16 or AMX); use torch:fp32")

    def ready(self, network: nn.Module, name: str = "") -> nn.Module:
        """Return ``network`` for inference on this engine's device. ``name`` is not needed here."""
        network = folded(network).to(device=self.device, memory_format=torch.channels_last_3d).requires_grad_(False)
        # In bfloat16 the inferers compute already where they can (see oarseg.training.precision).
        return network if self.precision == "bf16" else FullPrecision(network)


class FullPrecision(nn.Module):
    """A network that computes in float32 whatever the inferer asks for."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.factor = network_factor(network)

    def forward(self, image: Tensor) -> Tensor:
        with torch.autocast(image.device.type, enabled=False):
            return self.network(image)


def numpy_network(
    network: nn.Module, device: torch.device | str = "cpu", amp: bool = True
) -> Callable[[np.ndarray], np.ndarray]:
    """Return ``network``, which lies on ``device``, as a function from image (1, C, D, H, W) to logits.

    Both are numpy float32. Its attribute ``factor``: what D, H and W must be multiples of. ``amp``: False for float32.
    """

    @torch.inference_mode()
    def run(image: np.ndarray) -> np.ndarray:
        tensor = torch.from_numpy(np.ascontiguousarray(image, dtype=np.float32)).to(device)
        with autocast(device) if amp else nullcontext():
            logits = network(tensor.contiguous(memory_format=torch.channels_last_3d))
        return logits.float().contiguous().cpu().numpy()

    run.factor = network_factor(network)
    return run


def folded(network: nn.Module) -> nn.Module:
    """Return a copy of ``network`` for inference, each BatchNorm after a convolution in a ``Sequential`` part of it.

    The logits are the same, in less time. Networks without such pairs come back as plain copies.
    """
    network = copy.deepcopy(network).eval()
    for block in [module for module in network.modules() if isinstance(module, nn.Sequential)]:
        for (_, convolution), (name, norm) in pairwise(list(block.named_children())):
            if isinstance(convolution, nn.Conv3d) and isinstance(norm, nn.BatchNorm3d) and norm.track_running_stats:
                convolution.weight, convolution.bias = fuse_conv_bn_weights(
                    convolution.weight, convolution.bias, norm.running_mean, norm.running_var,
                    norm.eps, norm.weight, norm.bias,
                )  # fmt: skip
                setattr(block, name, nn.Identity())
    return network
