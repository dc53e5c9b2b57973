"""Puts trained weights into bundles."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from oarseg.bundles.parts import assembled, write_together
from oarseg.bundles.spec import BundleSpec
from oarseg.errors import ConfigError
from oarseg.networks import TwoStageNet
from oarseg.training.weights import FILE, fit, mean_state, mirrored, read_state, save_weights


def install(spec: BundleSpec, root: Path, checkpoints: Sequence[Path] = (), mirror: bool = False) -> str:
    """Write ``models/model.pt`` of a bundle below ``root``; return its SHA-256.

    Args: ``checkpoints``: trained weights; of several, the mean is taken. None for the two-stage bundle, whose weights
    are those of the other bundles: it needs a file only where it is to be used without them beside it, or by MONAI
    Label. ``mirror``: flip the kernels left to right, to derive one side's network from the other's.
    Raises ConfigError where that makes no sense, WeightsError where the weights do not fit the table's network.
    """
    if (not checkpoints) != (spec.kind == "two_stage"):
        raise ConfigError(f"{spec.name}: a checkpoint is needed, except for the two-stage bundle")
    if mirror and not (spec.organ and spec.organ.mirror):
        raise ConfigError(f"{spec.name}: only a network of an organ with another side can be mirrored")
    network, states = _network(spec), [read_state(path) for path in checkpoints]
    for path, state in zip(checkpoints, states, strict=True):
        fit(network, state, path)
    if spec.kind == "two_stage":
        fit(network, assembled(spec.site, root), spec.name)
        return write_together(spec, root, root / spec.name)
    state = mirrored(mean_state(states)) if mirror else mean_state(states)
    fit(network, state, spec.name)
    return save_weights(state, root / spec.name / FILE)


def _network(spec: BundleSpec):
    network = TwoStageNet.for_site(spec.site)
    if spec.kind == "two_stage":
        return network
    return network.organs[spec.organ.key] if spec.organ else network.localizer
