"""What this processor can do, found without importing PyTorch or OpenVINO."""

from __future__ import annotations

import os
import platform

# Where OpenVINO's CPU kernels were measured to be quicker than PyTorch's.
GAINS = ("x86_64", "amd64")


def cpu_flags() -> str:
    """Return the CPU's features as Linux lists them; empty elsewhere."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next((line for line in file if line.startswith("flags")), "")
    except OSError:
        return ""


def has_int8() -> bool:
    """Return whether 8-bit products are quick and exact here: with VNNI or AMX, or where no features are listed.

    On other processors they are made of 16-bit sums that saturate, and gain little.
    """
    flags = cpu_flags()
    return not flags or "vnni" in flags or "amx_int8" in flags


def openvino_gains() -> bool:
    """Return whether OpenVINO is quicker than PyTorch on this processor."""
    return platform.machine().lower() in GAINS


def threads() -> int:
    """Return the number of threads that ``OMP_NUM_THREADS`` sets, for PyTorch too; 0 leaves it to OpenVINO.

    As many as there are processors at most: OpenVINO refuses absurd numbers.
    """
    setting = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    try:
        return min(max(int(setting), 0), os.cpu_count() or 1)
    except ValueError:
        return 0
