"""Renders every bundle from a site table and the templates, so that an organ is a row and nothing else.

The eight organ bundles share their configs byte for byte; what differs is ``configs/organ.json``, the metadata, the
card and the weights.
"""

from __future__ import annotations

import json
from pathlib import Path

from oarseg.bundles.card import card, data_license
from oarseg.bundles.metadata import metadata
from oarseg.bundles.readme import sync_readme
from oarseg.bundles.spec import TEMPLATES, BundleSpec, bundle_specs
from oarseg.sites import Site
from oarseg.sites.table import FOLDER as SITES
from oarseg.training.weights import FILE, sha256

CONFIGS = ("train.json", "evaluate.json", "inference.json")


def render(spec: BundleSpec, folder: Path) -> dict[str, bytes]:
    """The files of a bundle by path within it. ``folder`` is looked at for its weights, whose checksum is told."""
    template = TEMPLATES / spec.kind
    files = {f"configs/{name}": (template / name).read_bytes() for name in CONFIGS}
    for name in ("multi_gpu_train.json", "logging.conf"):
        files[f"configs/{name}"] = (TEMPLATES / "common" / name).read_bytes()
    files["configs/site.json"] = (SITES / f"{spec.site.site}.json").read_bytes()
    if spec.organ:
        files["configs/organ.json"] = _json({"key": spec.organ.key})
    weights = folder / FILE
    checksum = sha256(weights) if weights.is_file() else None
    files["configs/metadata.json"] = _json(metadata(spec, checksum))
    files["docs/README.md"] = card(spec, checksum).encode()
    files["docs/data_license.txt"] = data_license().encode()
    files["LICENSE"] = (TEMPLATES / "common" / "LICENSE").read_bytes()
    return files


def sync(site: Site, root: Path, check: bool = False) -> list[str]:
    """Render all bundles of ``site`` below ``root`` and the table of the README beside it.

    Returns the paths (relative to ``root``) that differed; with ``check`` nothing is written.
    """
    changed = []
    for spec in bundle_specs(site):
        folder = root / spec.name
        for name, content in render(spec, folder).items():
            path = folder / name
            if path.is_file() and path.read_bytes() == content:
                continue
            changed.append(f"{spec.name}/{name}")
            if not check:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
    if sync_readme(site, root.parent / "README.md", check):
        changed.append("../README.md")
    return changed


def _json(content: dict) -> bytes:
    return (json.dumps(content, indent=4) + "\n").encode()
