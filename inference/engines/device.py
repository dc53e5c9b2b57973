"""Which device computes, told without importing PyTorch where there can be no other than the CPU."""

from __future__ import annotations

import ctypes
import re
import sys
from pathlib import Path

from oarseg.errors import ConfigError

# The drivers' libraries and, for ROCm, the kernel's device: without one of them PyTorch finds no GPU.
DRIVERS = {"linux": ("libcuda.so.1", "libcuda.so"), "win32": ("nvcuda.dll", "amdhip64.dll")}
ROCM = Path("/dev/kfd")


def chosen_device(name: str) -> str:
    """"cpu", "cuda" or "cuda:N" for ``name``: one of them, or "auto" (CUDA where there is one).

    Raises ConfigError for another name or a device that is not there.
    """
    if name == "cpu" or (name == "auto" and not may_have_gpu()):
        return "cpu"
    if name != "auto" and not re.fullmatch(r"cuda(:\d{1,3})?", name):
        raise ConfigError(f"unknown device {name!r}; use auto, cpu, cuda or cuda:N")
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if int(name.partition(":")[2] or 0) >= count:
        raise ConfigError(f"device {name!r} is not there; this machine has {count} CUDA devices")
    return name


def may_have_gpu() -> bool:
    """Whether a driver is installed by which PyTorch could find a GPU."""
    return ROCM.exists() or any(map(_loads, DRIVERS.get(sys.platform, ())))


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True
