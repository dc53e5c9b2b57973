"""The weights of a bundle for its metadata, and the two-stage bundle's weights put together from the others'."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oarseg.bundles.spec import BundleSpec, bundle_specs
from oarseg.checksum import FILE, IDENTITY, METADATA, MODEL, PARTS, read_metadata, sha256, sha256_of_parts
from oarseg.files import write_bytes
from oarseg.requires import require
from oarseg.sites import Site

if TYPE_CHECKING:
    from torch import Tensor


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
    parts = {
        prefix: {"bundle": part.name, "sha256": sha256(root / part.name / FILE)} for prefix, part in specs.items()
    }
    return {IDENTITY: sha256_of_parts(parts), PARTS: parts}


def assembled(site: Site, root: Path) -> dict[str, Tensor]:
    """Return the state dict of both stages, from the bundles below ``root``. Raises WeightsError where one has none."""
    require("putting a two-stage bundle's weights together", "torch")
    from oarseg.training.weights import read_state

    states = {prefix: read_state(root / part.name / FILE) for prefix, part in part_specs(site).items()}
    return {f"{prefix}.{key}": value for prefix, state in states.items() for key, value in state.items()}


def write_together(spec: BundleSpec, root: Path, target: Path) -> str:
    """Write a two-stage bundle's weight file, put together from the bundles below ``root``, into the folder ``target``.

    The metadata of the bundle below ``root`` are written there too, with the file's checksum; returns that.
    """
    from oarseg.training.weights import save_weights

    state, entry = assembled(spec.site, root), _entry_of_parts(spec.site, root)
    checksum = save_weights(state, target / FILE)
    content = {**read_metadata(root / spec.name), **entry, MODEL: checksum}
    write_bytes(target / METADATA, (json.dumps(content, indent=4) + "\n").encode())
    return checksum
