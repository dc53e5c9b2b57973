"""Renders every bundle from a site table and the templates, so that an organ is a row and nothing else.

The eight organ bundles share their configs byte for byte; what differs is ``configs/organ.json``, the metadata, the
card and the weights.
"""

from __future__ import annotations

import json
from pathlib import Path

from oarseg.bundles.card import PICTURE, card, data_license, has_picture
from oarseg.bundles.facts import is_shipped
from oarseg.bundles.metadata import metadata
from oarseg.bundles.spec import TEMPLATES, BundleSpec, bundle_specs
from oarseg.bundles.weights import weights_entry
from oarseg.checksum import IDENTITY, has_weights
from oarseg.errors import ConfigError
from oarseg.files import write_bytes
from oarseg.sites import Site

CONFIGS = ("train.json", "evaluate.json", "inference.json")
# Transforms of train.json that another site has otherwise, see train_config.
MIRROR, INDICES = "oarseg.transforms.RandMirrord", "ClassesToIndicesd"


def render(spec: BundleSpec, folder: Path) -> dict[str, bytes]:
    """Return the files of a bundle by path within it; ``folder``: the bundle's, for the checksum of its weights."""
    template = TEMPLATES / spec.kind
    files = {f"configs/{name}": (template / name).read_bytes() for name in CONFIGS}
    if not is_shipped(spec.site):
        files["configs/train.json"] = _json(train_config(json.loads(files["configs/train.json"]), spec.site))
    # The nine networks of the two-stage bundle are compressed in their own.
    own = () if spec.kind == "two_stage" else ("compress.json",)
    for name in ("multi_gpu_train.json", "logging.conf", *own):
        files[f"configs/{name}"] = (TEMPLATES / "common" / name).read_bytes()
    files["configs/site.json"] = spec.site.path.read_bytes()
    if spec.organ:
        files["configs/organ.json"] = _json({"key": spec.organ.key})
    entry = weights_entry(spec, folder)
    checksum = entry.get(IDENTITY)
    files["configs/metadata.json"] = _json(metadata(spec, checksum) | entry)
    files["docs/README.md"] = card(spec, checksum).encode()
    if has_picture(spec, checksum):
        files[f"docs/{PICTURE}"] = (TEMPLATES / "common" / PICTURE).read_bytes()
    files["docs/data_license.txt"] = data_license(spec, checksum).encode()
    files["LICENSE"] = (TEMPLATES / "common" / "LICENSE").read_bytes()
    return files


def train_config(config: dict, site: Site) -> dict:
    """Return the template's train config for another site: its data, and what only holds for head and neck left out.

    Crops are drawn around organs of air (lungs, a rectum with gas) as around others, not in tissue alone. Where no
    patient has the mirror image, nothing is mirrored: an organ's config has a switch for it, which also keeps cases of
    the other side out; the others lose the transform.
    """
    train = dict(config["train"])
    train |= {
        part: [
            {k: v for k, v in t.items() if t["_target_"] != INDICES or not k.startswith("image_")} for t in train[part]
        ]
        for part in ("deterministic_transforms", "cached_transforms")
        if part in train
    }
    if not site.symmetric and "mirrored" not in config:
        train["random_transforms"] = [t for t in train["random_transforms"] if t["_target_"] != MIRROR]
    switch = {} if site.symmetric or "mirrored" not in config else {"mirrored": False}
    return config | {"dataset_dir": f"data/{site.prefix}", "train": train} | switch


def sync(site: Site, root: Path, check: bool = False) -> list[str]:
    """Render all bundles of ``site`` below ``root``; return the paths (relative to it) that differed.

    With ``check`` nothing is written.
    Raises ConfigError, with nothing written, where two bundles would have one name or one is another site's.
    """
    changed, specs = [], bundle_specs(site)
    _check_names(specs, root)
    for spec in specs:
        folder = root / spec.name
        for name, content in render(spec, folder).items():
            path = folder / name
            if path.is_file() and path.read_bytes() == content:
                continue
            changed.append(f"{spec.name}/{name}")
            if not check:
                write_bytes(path, content)
    return changed


def untrained(site: Site, root: Path) -> list[str]:
    """Return the names of the bundles of ``site`` below ``root`` that are there and have no weights."""
    names = [spec.name for spec in bundle_specs(site) if (root / spec.name).is_dir()]
    return [name for name in names if not has_weights(root / name)]


def _check_names(specs: list[BundleSpec], root: Path) -> None:
    names = [spec.name for spec in specs]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ConfigError(f"two bundles would be called {min(twice)}; change organ_bundles or a key in the site table")
    for spec in specs:
        other = _site_of(root / spec.name)
        if other not in (None, spec.site.site):
            raise ConfigError(
                f"{root / spec.name} is a bundle of site {other!r}, not of {spec.site.site!r}; give another --root, or "
                "set organ_bundles and prefix in the site table"
            )


def _site_of(folder: Path) -> str | None:
    """Return the site that a bundle folder belongs to; None where there is no (readable) bundle."""
    try:
        return json.loads((folder / "configs" / "site.json").read_text(encoding="utf-8"))["site"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _json(content: dict) -> bytes:
    return (json.dumps(content, indent=4) + "\n").encode()
