"""The weights of a bundle: what its metadata say of them, trained ones put into it, the two-stage bundle's together.

Only what reads or writes weights needs PyTorch.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oarseg.bundles.spec import BundleSpec, bundle_specs
from oarseg.checksum import FILE, IDENTITY, METADATA, MODEL, PARTS, read_metadata, sha256, sha256_of_parts
from oarseg.errors import ConfigError
from oarseg.files import write_json
from oarseg.requires import require
from oarseg.sites import Site

if TYPE_CHECKING:
    from torch import Tensor


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
    require("oarseg bundles weights", "torch")
    from oarseg.networks import TwoStageNet
    from oarseg.training.weights import fit, mean_state, mirrored, read_state, save_weights

    network = TwoStageNet.for_site(spec.site)
    if spec.kind == "two_stage":
        state = assembled(spec.site, root)
        fit(network, state, spec.name)
        return write_together(spec, root, root / spec.name, state)
    network = network.organs[spec.organ.key] if spec.organ else network.localizer
    states = [read_state(path) for path in checkpoints]
    for path, state in zip(checkpoints, states, strict=True):
        fit(network, state, path)
    state = mirrored(mean_state(states)) if mirror else mean_state(states)
    fit(network, state, spec.name)
    return save_weights(state, root / spec.name / FILE)


def part_specs(site: Site) -> dict[str, BundleSpec]:
    """Return the bundles that the two-stage bundle is put together from, by their prefix in its state dict."""
    specs = [spec for spec in bundle_specs(site) if spec.kind != "two_stage"]
    return {f"organs.{spec.organ.key}" if spec.organ else "localizer": spec for spec in specs}


def weights_entry(spec: BundleSpec, folder: Path) -> dict[str, Any]:
    """Return what the metadata of the bundle in ``folder`` say of its weights; nothing while there are none.

    A weight file of its own comes first. It is identified by its checksum, or, where it was put together from parts, by
    theirs. A two-stage bundle without one has the weights of the bundles beside it.
    """
    if (folder / FILE).is_file():
        checksum, stored = sha256(folder / FILE), read_metadata(folder)
        together = stored.get(MODEL) == checksum and {IDENTITY, PARTS} <= set(stored)
        return {key: stored[key] for key in (IDENTITY, PARTS, MODEL)} if together else {IDENTITY: checksum}
    return _entry_of_parts(spec.site, folder.parent) if spec.kind == "two_stage" else {}


def _entry_of_parts(site: Site, root: Path) -> dict[str, Any]:
    specs = part_specs(site)
    if not all((root / part.name / FILE).is_file() for part in specs.values()):
        return {}
    parts = {prefix: {"bundle": part.name, "sha256": sha256(root / part.name / FILE)} for prefix, part in specs.items()}
    return {IDENTITY: sha256_of_parts(parts), PARTS: parts}


def assembled(site: Site, root: Path) -> dict[str, Tensor]:
    """Return the state dict of both stages, from the bundles below ``root``. Raises WeightsError where one has none."""
    require("putting a two-stage bundle's weights together", "torch")
    from oarseg.training.weights import put_together

    return put_together({prefix: root / part.name / FILE for prefix, part in part_specs(site).items()})


def write_together(spec: BundleSpec, root: Path, target: Path, state: dict[str, Tensor]) -> str:
    """Write a two-stage bundle's weight file into the folder ``target``; ``state``: :func:`assembled` below ``root``.

    The metadata of the bundle below ``root`` are written there too, with the file's checksum; returns that.
    """
    from oarseg.training.weights import save_weights

    checksum = save_weights(state, target / FILE)
    content = {**read_metadata(root / spec.name), **_entry_of_parts(spec.site, root), MODEL: checksum}
    write_json(target / METADATA, content, indent=4)
    return checksum
