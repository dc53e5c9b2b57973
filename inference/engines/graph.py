"""A UNet3d as an OpenVINO model, built from its state dict: neither PyTorch nor a conversion is needed.

The same graph in full precision, or with 8-bit weights and activations: weights symmetric with a scale for each output
channel, activations rounded to 256 steps where NNCF rounds them too (after a ReLU or a transposed convolution), by
ranges that NNCF found on training cases. The first convolution stays in floats, and so does the last one unless the
range of its input is there too: rounding the image and the input of the last convolution moves labels the most.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from oarseg.errors import WeightsError
from oarseg.inference.engines.openvino_core import import_openvino

State = Mapping[str, np.ndarray]
Ranges = Mapping[str, tuple[float, float]]

FIRST, HEAD = "encoder.0.0", "head"
# Of PyTorch's BatchNorm.
EPSILON = 1e-5
LEVELS = 256
ONES, ZEROS = [1, 1, 1], [0, 0, 0]


def build(state: State, mean: float, std: float, ranges: Ranges | None = None) -> Any:
    """Return the network as an ``openvino.Model``: image (1, C, D, H, W) float32, sizes free, to logits.

    Args:
        state: weights of a :class:`oarseg.networks.UNet3d` of any widths, by the names of its state dict.
        mean, std: of the training intensities (eqs 3-3, 3-4), which are not in the state dict.
        ranges: lowest and highest activation by name, see :func:`names`, and of :func:`last` where the last
            convolution is to be rounded; None for full precision.

    Raises WeightsError where the weights are not a UNet3d's, or a range is missing.
    """
    openvino = import_openvino()
    poolings = sum(name.startswith("up.") and name.endswith(".weight") for name in state)
    try:
        graph = _Graph(state, ranges, poolings)
        return openvino.Model([graph.unet(mean, std)], [graph.image], "UNet3d")
    except KeyError as error:
        what = "range" if ranges is not None and error.args[0] in names(poolings) else "weight"
        raise WeightsError(f"the {what} {error.args[0]} of the UNet3d is missing") from error
    except (IndexError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[-160:]
        raise WeightsError(f"the weights do not make a UNet3d ({reason}); install the bundle again") from error


def names(poolings: int) -> list[str]:
    """Return the activations that have ranges, in the order in which they are computed."""
    down = [f"encoder.{level}.{at}" for level in range(poolings + 1) for at in (0, 3)]
    up = [name for i in range(poolings) for name in (f"up.{i}", f"decoder.{i}.0", f"decoder.{i}.3")]
    return [name for name in down + up if name != last(poolings)]


def last(poolings: int) -> str:
    """Return the activation that logits come from, which need not have a range."""
    return f"decoder.{poolings - 1}.3" if poolings else "encoder.0.3"


def ranges_of(model: Any) -> dict[str, tuple[float, float]]:
    """Return the ranges in a graph of :func:`build` that ``nncf.quantize`` has quantized, by the activations' names.

    Among them the last activation's.
    """
    found = {}
    for node in model.get_ordered_ops():
        source = node.input_value(0).get_node().get_friendly_name() if node.get_type_name() == "FakeQuantize" else ""
        # Those of weights have a constant before them, which has no name of ours.
        if source.startswith(_PREFIX):
            low, high = (float(node.input_value(i).get_node().get_data().min()) for i in (1, 2))
            found[source.removeprefix(_PREFIX)] = (low, high)
    return found


_PREFIX = "activation:"


class _Graph:
    """Nodes of one network; every method returns a node."""

    def __init__(self, state: State, ranges: Ranges | None, poolings: int) -> None:
        from openvino import opset13 as ops

        self.ops, self.state, self.ranges, self.poolings = ops, state, ranges, poolings
        self.rounded = frozenset(names(poolings)) | (frozenset([last(poolings)]) & frozenset(ranges or ()))
        # Convolutions whose rounding would move labels the most.
        self.in_floats = (FIRST,) if last(poolings) in self.rounded else (FIRST, HEAD)
        channels = state["encoder.0.0.weight"].shape[1] if "encoder.0.0.weight" in state else 1
        self.image = ops.parameter([1, channels, -1, -1, -1], np.float32, name="image")

    def unet(self, mean: float, std: float) -> Any:
        ops, poolings = self.ops, self.poolings
        one = (self._constant(mean), self._constant(std))
        x = ops.divide(ops.subtract(self.image, one[0]), one[1])
        skips = []
        for level in range(poolings):
            x = self._level(x, f"encoder.{level}")
            skips.append(x)
            x = ops.max_pool(x, [2, 2, 2], ONES, ZEROS, ZEROS, [2, 2, 2], "floor", "explicit").output(0)
        x = self._level(x, f"encoder.{poolings}")
        for i in range(poolings):
            x = self._level(ops.concat([skips.pop(), self._up(x, f"up.{i}")], 1), f"decoder.{i}")
        return ops.add(self._convolved(x, self._plain(HEAD), HEAD), self._bias(HEAD), name="logits")

    def _level(self, x: Any, name: str) -> Any:
        """Two convolutions, each with its BatchNorm folded in and a ReLU."""
        for at in (0, 3):
            weight, shift = folded(self.state, f"{name}.{at}", f"{name}.{at + 1}")
            x = self._convolved(x, weight, f"{name}.{at}")
            x = self.ops.add(x, self._constant(shift.reshape(1, -1, 1, 1, 1)))
            x = self._activation(self.ops.relu(x), f"{name}.{at}")
        return x

    def _up(self, x: Any, name: str) -> Any:
        # Kernels of a transposed convolution have their output channels second.
        weight = self._kernel(_sized(self._plain(name), name, (2, 2, 2)), axis=1)
        x = self.ops.convolution_backprop_data(x, weight, [2, 2, 2], pads_begin=ZEROS, pads_end=ZEROS, dilations=ONES)
        return self._activation(self.ops.add(x, self._bias(name)), name)

    def _convolved(self, x: Any, weight: np.ndarray, name: str) -> Any:
        weight = _sized(weight, name, (3, 3, 3))
        kernel = self._constant(weight) if name in self.in_floats else self._kernel(weight, axis=0)
        return self.ops.convolution(x, kernel, ONES, ONES, ONES, ONES)

    def _kernel(self, weight: np.ndarray, axis: int) -> Any:
        """Return ``weight`` as it is, or in 8 bits with a scale for every index along ``axis``, its output channels."""
        if self.ranges is None:
            return self._constant(weight)
        codes, scale = in_bytes(weight, axis)
        wide = self.ops.convert(self.ops.constant(codes), np.float32)
        return self.ops.multiply(wide, self._constant(scale))

    def _activation(self, x: Any, name: str) -> Any:
        x.set_friendly_name(_PREFIX + name)
        if self.ranges is None or name not in self.rounded:
            return x
        low, high = (self._constant(np.full((1, 1, 1, 1, 1), value)) for value in self.ranges[name])
        return self.ops.fake_quantize(x, low, high, low, high, LEVELS)

    def _plain(self, name: str) -> np.ndarray:
        return np.asarray(self.state[f"{name}.weight"], np.float32)

    def _bias(self, name: str) -> Any:
        return self._constant(np.asarray(self.state[f"{name}.bias"]).reshape(1, -1, 1, 1, 1))

    def _constant(self, values: Any) -> Any:
        return self.ops.constant(np.asarray(values, np.float32))


def _sized(weight: np.ndarray, name: str, size: tuple[int, int, int]) -> np.ndarray:
    """Return ``weight``, whose kernels must be of ``size``. Raises ValueError: OpenVINO would compute something."""
    if weight.shape[2:] != size:
        raise ValueError(f"{name}.weight has the shape {weight.shape}, its kernels must be {size}")
    return weight


def folded(state: State, convolution: str, norm: str) -> tuple[np.ndarray, np.ndarray]:
    """Return kernel (O, I, 3, 3, 3) and shift (O) of a convolution without bias and the BatchNorm after it, as one."""
    gain = state[f"{norm}.weight"] / np.sqrt(state[f"{norm}.running_var"] + EPSILON)
    weight = state[f"{convolution}.weight"] * gain.reshape(-1, 1, 1, 1, 1)
    return weight.astype(np.float32), (state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * gain).astype(np.float32)


def in_bytes(weight: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Return codes (int8, -127 to 127) and scale (1 along all axes but ``axis``); their product is near ``weight``."""
    others = tuple(a for a in range(weight.ndim) if a != axis)
    scale = np.abs(weight).max(axis=others, keepdims=True) / 127
    # A pruned channel is zero whatever its scale.
    scale[scale == 0] = 1
    return np.round(weight / scale).astype(np.int8), scale.astype(np.float32)
