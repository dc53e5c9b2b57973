"""Weight files: state dicts of tensors, half precision, with a SHA-256 beside them in the bundle's metadata."""

from __future__ import annotations

import os
import pickle
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from oarseg.checksum import FILE, part_files, sha256, verified
from oarseg.errors import WeightsError
from oarseg.files import whole_file

if TYPE_CHECKING:
    from ignite.engine import Engine

__all__ = [
    "FILE", "LoadWeights", "fit", "half", "load_weights", "mean_state", "mirrored", "read_state", "save_weights",
    "sha256", "verified",
]  # fmt: skip


def half(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return convolution kernels and biases as float16.

    What BatchNorm keeps stays float32, whose range it may need; so do single numbers, such as the mean and standard
    deviation of the training intensities.
    """
    norm = {key.rpartition(".")[0] for key in state if key.endswith("running_var")}

    def kept(key: str, value: Tensor) -> bool:
        return not value.is_floating_point() or value.ndim == 0 or key.rpartition(".")[0] in norm

    return {key: value if kept(key, value) else value.half().contiguous() for key, value in state.items()}


def save_weights(state: Mapping[str, Tensor], path: str | Path) -> str:
    """Write a state dict in half precision, whole or not at all; return its SHA-256."""
    path = Path(path)
    with whole_file(path) as temporary, tempfile.TemporaryDirectory(dir=temporary.parent) as folder:
        # PyTorch writes a file's name into it: with another one, the same weights would have another SHA-256.
        torch.save(half(state), Path(folder, path.name))
        os.replace(Path(folder, path.name), temporary)
    return sha256(path)


def read_state(path: str | Path) -> dict[str, Tensor]:
    """Return the state dict in a weight file, or the averaged one in a training checkpoint.

    Where ``path`` is that of a two-stage bundle's weights and there is no such file, they are put together in memory
    from the bundles beside it (see :mod:`oarseg.checksum`).
    Raises WeightsError where there is none, it is damaged, or a weight is not a finite number.
    """
    path = Path(path)
    if not path.is_file() and path.parts[-2:] == Path(FILE).parts and (parts := part_files(path.parents[1])):
        return put_together(parts)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise WeightsError(f"weights missing: {path}; fetch them or train the bundle") from error
    except (RuntimeError, pickle.UnpicklingError, EOFError, OSError, ValueError, KeyError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise WeightsError(f"{path} is damaged or not a plain state dict: {reason}") from error
    if isinstance(state, dict):
        named = state.get("network", state.get("model", state))
        state = _averaged(state["average"], path) if "average" in state else named
    if not isinstance(state, dict) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise WeightsError(f"{path} holds no state dict of tensors")
    _check_finite(state, str(path))
    return state


def put_together(parts: Mapping[str, Path]) -> dict[str, Tensor]:
    """Return one state dict of the weight files ``parts``, each below its prefix. Raises what `read_state` raises."""
    return {f"{prefix}.{key}": value for prefix, path in parts.items() for key, value in read_state(path).items()}


def _averaged(state: object, path: Path) -> dict[str, Tensor]:
    """The network's part of the state of :class:`oarseg.training.WeightAverage`. Raises WeightsError."""
    if not isinstance(state, Mapping) or not all(isinstance(key, str) for key in state):
        raise WeightsError(f"{path}: 'average' is a {type(state).__name__}, expected a state dict; give another file")
    return {key.removeprefix("module."): value for key, value in state.items() if key.startswith("module.")}


def _check_finite(state: Mapping[str, Tensor], name: str) -> None:
    """Raises WeightsError where a weight of ``state``, which came from ``name``, is NaN or infinite."""
    for key, value in state.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise WeightsError(f"{name}: {key} holds NaN or infinity; training diverged, take an earlier checkpoint")


def load_weights(network: nn.Module, path: str | Path) -> None:
    """Copy a weight file into ``network`` (float32). Raises WeightsError where they do not fit."""
    fit(network, read_state(path), path)


def fit(network: nn.Module, state: Mapping[str, Tensor], name: str | Path) -> None:
    """Copy ``state``, which came from ``name``, into ``network``. Raises WeightsError where it does not fit."""
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise WeightsError(f"{name} belongs to another network: {str(error).splitlines()[1].strip()}") from error


class LoadWeights:
    """Handler that loads weights as the engine starts, after checking those that the bundle shipped.

    Args: ``bundle_root``; ``path``: the bundle's ``models/model.pt`` (its checksum must be the metadata's) or another
    file, such as one just trained.
    """

    def __init__(self, bundle_root: str, path: str, network: nn.Module) -> None:
        self.bundle_root, self.path, self.network = Path(bundle_root), Path(path), network

    def attach(self, engine: Engine) -> None:
        # Here, since who only loads weights needs no Ignite, which takes a second to import.
        from ignite.engine import Events

        engine.add_event_handler(Events.STARTED, self)

    def __call__(self, engine: Engine | None = None) -> None:
        if self.path.resolve() == (self.bundle_root / FILE).resolve():
            verified(self.bundle_root)
        load_weights(getattr(self.network, "module", self.network), self.path)


def mirrored(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state dict of the network for the mirrored patient: every kernel (..., D, H, W) flipped along W.

    With columns running left-right, a network and its mirrored one give mirrored outputs for mirrored inputs exactly.
    """
    return {key: value.flip(-1) if value.ndim == 5 else value for key, value in state.items()}


def mean_state(states: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Return the mean of several state dicts of one network, such as those after several phases of training.

    Weights that one start leads to lie close enough for it, and generalise better together (Wortsman et al., "Model
    soups", ICML 2022). Counts, such as BatchNorm's of batches, are the last one's. Raises WeightsError where there is
    none to take, where they are not of one network, or where a weight is not a finite number.
    """
    if not states:
        raise WeightsError("no weights to take the mean of; give one checkpoint or more")
    *_, last = states
    for number, state in enumerate(states, 1):
        _check_finite(state, f"checkpoint {number} of {len(states)}")
        unlike = [k for k in {**last, **state} if k not in last or k not in state or last[k].shape != state[k].shape]
        if unlike:
            raise WeightsError(f"checkpoints {number} and {len(states)} are of different networks: {unlike[0]} differs")
    mean = {k: torch.stack([s[k].float() for s in states]).mean(0) for k, v in last.items() if v.is_floating_point()}
    return dict(last) | mean
