"""Half precision in PyTorch: on which devices, and the context that switches it on."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

from oarseg.cpu import cpu_flags


def autocast(device: torch.device | str) -> AbstractContextManager:
    """Return a context: bfloat16 autocast on CUDA and on CPUs with AVX-512 bf16 or AMX; plain float32 elsewhere."""
    if has_bf16(device):
        return torch.autocast(torch.device(device).type, dtype=torch.bfloat16)
    return nullcontext()


def has_bf16(device: torch.device | str) -> bool:
    """Return whether the device computes in bfloat16 faster than in float32."""
    kind = torch.device(device).type
    return kind == "cuda" or (kind == "cpu" and torch.backends.mkldnn.is_available() and _cpu_has_bf16())


def _cpu_has_bf16() -> bool:
    # Elsewhere PyTorch emulates bfloat16, which is slower than float32.
    return "avx512_bf16" in cpu_flags() or "amx_bf16" in cpu_flags()
