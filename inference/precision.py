"""Half precision where the processor has it."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from monai.inferers import Inferer
from torch import Tensor, nn


def autocast(device: torch.device | str) -> AbstractContextManager:
    """bfloat16 autocast on CUDA and on CPUs with AVX-512 bf16 or AMX; plain float32 elsewhere."""
    kind = torch.device(device).type
    if kind == "cuda" or (kind == "cpu" and torch.backends.mkldnn.is_available() and _cpu_has_bf16()):
        return torch.autocast(kind, dtype=torch.bfloat16)
    return nullcontext()


def _cpu_has_bf16() -> bool:
    # Elsewhere PyTorch emulates bfloat16, which is slower than float32.
    return "avx512_bf16" in _cpu_flags() or "amx_bf16" in _cpu_flags()


def _cpu_flags() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next((line for line in file if line.startswith("flags")), "")
    except OSError:
        return ""


class AutocastInferer(Inferer):
    """One pass of the network in half precision, logits back in float32. For training and for whole crops."""

    def __call__(self, inputs: Tensor, network: nn.Module, *args: Any, **kwargs: Any) -> Tensor:
        inputs = inputs.as_tensor() if hasattr(inputs, "as_tensor") else inputs
        inputs = inputs.contiguous(memory_format=torch.channels_last_3d)
        with autocast(inputs.device):
            logits = network(inputs, *args, **kwargs)
        return logits.float()
