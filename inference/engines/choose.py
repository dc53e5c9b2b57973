"""Which engine and which device: those that the user chose, or the quickest ones of this machine."""

from __future__ import annotations

import ctypes
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from oarseg.cpu import openvino_gains
from oarseg.errors import ConfigError
from oarseg.requires import installed, needs, require

if TYPE_CHECKING:
    import torch
    from torch import nn

    from oarseg.networks import TwoStageNet

PRECISIONS = {"auto": (), "torch": ("bf16", "fp32"), "openvino": ("bf16", "fp32", "int8")}
# The drivers' libraries and, for ROCm, the kernel's device: without one of them PyTorch finds no GPU.
DRIVERS = {"linux": ("libcuda.so.1", "libcuda.so"), "win32": ("nvcuda.dll", "amdhip64.dll")}
ROCM = Path("/dev/kfd")


class Engine(Protocol):
    """What computes a network's logits. ``precision``: of its numbers, "fp32" or "bf16"."""

    name: str
    precision: str

    def ready(self, network: nn.Module, name: str) -> nn.Module:
        """Return ``network`` (with weights), named ``name`` in its bundle, as a module that computes the same."""
        ...


def make_engine(choice: str, device: torch.device | str) -> Engine:
    """Return the engine of ``choice``: "auto", "torch" or "openvino"; the last two may add a precision (torch:fp32).

    "auto" is OpenVINO if it is installed and this CPU gains from it, else PyTorch.
    Raises ConfigError for an unknown engine or precision, for OpenVINO on another device than the CPU, if a package is
    not installed, and for int8, which only :func:`stored_networks` have.
    """
    name, precision = check_engine(choice)
    kind = str(device).partition(":")[0]
    if name == "auto":
        name = "openvino" if kind == "cpu" and openvino_is_quicker() else "torch"
    require(f"the engine {name} for a bundle without compressed networks", "torch")
    if name == "torch":
        from oarseg.inference.engines.torch_engine import TorchEngine

        return TorchEngine(device, precision or None)
    if kind != "cpu":
        raise ConfigError(f"the engine openvino runs on the CPU, not on {device}; use --device cpu or --engine torch")
    from oarseg.inference.engines.openvino_engine import OpenVinoEngine

    return OpenVinoEngine(precision or None)


def openvino_is_quicker() -> bool:
    """Whether "auto" takes OpenVINO on this machine's CPU: it is quicker, or the only engine that is installed."""
    return installed("openvino") and (openvino_gains() or not installed("torch"))


def check_engine(choice: str) -> tuple[str, str]:
    """Return engine and precision ("" for the quickest) of ``choice``; for callers with long work before it.

    Raises ConfigError for an unknown engine or precision, and for one that is not installed.
    """
    name, _, precision = choice.partition(":")
    if name not in PRECISIONS:
        raise ConfigError(f"unknown engine {choice!r}; choose of: {', '.join(PRECISIONS)}")
    if precision not in ("", *PRECISIONS[name]):
        can = f"computes in {', '.join(PRECISIONS[name])}" if PRECISIONS[name] else "chooses the precision itself"
        raise ConfigError(f"engine {choice!r}: {name} {can}, not in {precision!r}")
    if name != "auto":
        require(f"the engine {name}", name)
    return name, precision


def ready_net(engine: Engine, network: TwoStageNet) -> TwoStageNet:
    """Return ``network`` with each of its networks run by ``engine``."""
    organs = {key: engine.ready(part, key) for key, part in network.organs.items()}
    return type(network)(engine.ready(network.localizer, "localizer"), organs).eval()


def advice(choice: str, device: torch.device | str) -> str | None:
    """Return a hint for users whom "auto" gave PyTorch although OpenVINO would be quicker; None for all others."""
    if choice == "auto" and str(device).partition(":")[0] == "cpu" and openvino_gains() and not installed("openvino"):
        return needs("the quickest engine of this processor", "openvino")
    return None


def check_device(name: str) -> None:
    """Refuse a device that is not there before long work; "auto" is always there. Raises ConfigError."""
    if name != "auto":
        chosen_device(name)


def chosen_device(name: str) -> str:
    """Return "cpu", "cuda" or "cuda:N" for ``name``: one of them, or "auto" (CUDA where there is one).

    Raises ConfigError for another name or a device that is not there.
    """
    if name == "cpu" or (name == "auto" and not (installed("torch") and may_have_gpu())):
        return "cpu"
    if name != "auto" and not re.fullmatch(r"cuda(:\d{1,3})?", name):
        raise ConfigError(f"unknown device {name!r}; use auto, cpu, cuda or cuda:N")
    require(f"device {name!r}", "torch")
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
