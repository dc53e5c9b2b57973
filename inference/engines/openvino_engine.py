"""OpenVINO for networks that are PyTorch modules: on CPUs quicker than PyTorch itself."""

from __future__ import annotations

import hashlib
import warnings
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from oarseg.errors import ConfigError
from oarseg.inference.engines.graph import build
from oarseg.inference.engines.openvino_core import CompiledNetwork, OpenVinoCore, import_openvino
from oarseg.inference.engines.torch_engine import folded
from oarseg.networks import UNet3d
from oarseg.networks.factor import network_factor


class OpenVinoEngine:
    """Runs modules by OpenVINO on the CPU, as they are: in floats.

    Args: ``precision``: "fp32" or "bf16"; None for the quickest that this CPU has. ``core``: what compiles, with as
    many threads as PyTorch by default. Raises ConfigError where OpenVINO is missing or this CPU has not the precision,
    and for "int8".
    """

    name = "openvino"

    def __init__(self, precision: str | None = None, core: OpenVinoCore | None = None) -> None:
        self.core = core or OpenVinoCore(torch.get_num_threads())
        self.precision = self.core.checked(precision or self.core.float)
        if precision == "int8":
            raise ConfigError("int8 is for a bundle's compressed networks; use openvino:bf16 or openvino:fp32")

    def ready(self, network: nn.Module, name: str = "") -> nn.Module:
        """Return ``network`` run by OpenVINO, compiled on first use, for images of any size."""
        key = f"{fingerprint(network)} {network!r}"
        network = network.eval()
        compiled = CompiledNetwork(
            lambda: self.core.compile(lambda: convert(network), key, self.precision), network_factor(network)
        )
        return OpenVinoNetwork(compiled)


class OpenVinoNetwork(nn.Module):
    """A compiled module: float32 on the CPU in and out. For inference: it has no gradients."""

    def __init__(self, compiled: CompiledNetwork) -> None:
        super().__init__()
        self.compiled, self.factor = compiled, compiled.factor

    def forward(self, image: Tensor) -> Tensor:
        return torch.from_numpy(self.compiled(image.detach().to("cpu", torch.float32).contiguous().numpy()))


def convert(network: nn.Module) -> Any:
    """Return ``network`` as an OpenVINO model for one image of any size, BatchNorm folded. Raises ConfigError."""
    state = network.state_dict()
    # Masks of pruning are parametrizations, which give the weights other names.
    if isinstance(network, UNet3d) and not any("parametrizations" in name for name in state):
        arrays = {name: tensor.detach().float().cpu().numpy() for name, tensor in state.items()}
        return build(arrays, float(network.mean), float(network.std))
    return traced(network)


def traced(network: nn.Module) -> Any:
    """Return any network as an OpenVINO model, by tracing it; see :func:`convert`."""
    openvino = import_openvino()
    channels = next((m.in_channels for m in network.modules() if isinstance(m, nn.Conv3d)), 1)
    example = torch.zeros(1, channels, *[2 * network_factor(network)] * 3)
    try:
        # The inferers call within autocast, which would be traced along with the network.
        with torch.no_grad(), torch.autocast("cpu", enabled=False), warnings.catch_warnings():
            warnings.simplefilter("ignore", torch.jit.TracerWarning)
            model = openvino.convert_model(folded(network).cpu().requires_grad_(False), example_input=example)
        model.reshape([1, channels, -1, -1, -1])
    except (RuntimeError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:160]
        raise ConfigError(f"OpenVINO cannot convert the network ({reason}); use --engine torch") from error
    return model


def fingerprint(network: nn.Module) -> str:
    """Return the hex SHA-256 of all parameters and buffers by name."""
    digest = hashlib.sha256()
    for name, tensor in sorted(chain(network.named_parameters(), network.named_buffers())):
        values = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {values.dtype} {tuple(values.shape)}\n".encode())
        digest.update(values.numpy().tobytes())
    return digest.hexdigest()
