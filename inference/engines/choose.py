"""Which engine: what the user asked for, or what this machine is quickest with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from oarseg.cpu import openvino_gains
from oarseg.errors import ConfigError
from oarseg.inference.engines.openvino_import import INSTALL, installed

if TYPE_CHECKING:
    import torch
    from torch import nn

    from oarseg.networks import TwoStageNet

PRECISIONS = {"auto": (), "torch": ("bf16", "fp32"), "openvino": ("bf16", "fp32", "int8")}


class Engine(Protocol):
    """``name``: of the engine. ``precision``: what it computes in: "fp32" or "bf16"."""

    name: str
    precision: str

    def ready(self, network: nn.Module, name: str) -> nn.Module:
        """``network`` (with weights), known as ``name`` in its bundle, as a module that answers as it does."""
        ...


def make_engine(choice: str, device: torch.device | str) -> Engine:
    """The engine that ``choice`` names: "auto", "torch" or "openvino"; the last two may add a precision (torch:fp32).

    "auto" is OpenVINO where it is installed and this CPU gains from it, else PyTorch.
    Raises ConfigError for an unknown engine or precision, for OpenVINO on another device than the CPU, where it is
    not installed, and for int8, which only :func:`stored_networks` are in.
    """
    name, precision = check_engine(choice)
    kind = str(device).partition(":")[0]
    if name == "auto":
        name = "openvino" if kind == "cpu" and openvino_gains() and installed() else "torch"
    if name == "torch":
        from oarseg.inference.engines.torch_engine import TorchEngine

        return TorchEngine(device, precision or None)
    if kind != "cpu":
        raise ConfigError(f"the engine openvino runs on the CPU, not on {device}; use --device cpu or --engine torch")
    from oarseg.inference.engines.openvino_engine import OpenVinoEngine

    return OpenVinoEngine(precision or None)


def check_engine(choice: str) -> tuple[str, str]:
    """Engine and precision ("" for the quickest) of ``choice``; for callers that have long work to do before.

    Raises ConfigError for what does not exist and for OpenVINO where it is not installed.
    """
    name, _, precision = choice.partition(":")
    if name not in PRECISIONS:
        raise ConfigError(f"unknown engine {choice!r}; choose of: {', '.join(PRECISIONS)}")
    if precision not in ("", *PRECISIONS[name]):
        can = f"computes in {', '.join(PRECISIONS[name])}" if PRECISIONS[name] else "chooses the precision itself"
        raise ConfigError(f"engine {choice!r}: {name} {can}, not in {precision!r}")
    if name == "openvino" and not installed():
        raise ConfigError(f"the engine openvino needs the package openvino; install it: {INSTALL}")
    return name, precision


def ready_net(engine: Engine, network: TwoStageNet) -> TwoStageNet:
    """``network`` with each of its networks run by ``engine``."""
    organs = {key: engine.ready(part, key) for key, part in network.organs.items()}
    return type(network)(engine.ready(network.localizer, "localizer"), organs).eval()


def advice(choice: str, device: torch.device | str) -> str | None:
    """A line for users whom "auto" gave PyTorch although OpenVINO would be quicker; None for all others."""
    if choice == "auto" and str(device).partition(":")[0] == "cpu" and openvino_gains() and not installed():
        return f"this processor is quicker with OpenVINO: {INSTALL}"
    return None
