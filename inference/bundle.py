"""What a two-stage bundle's folder says, read as JSON: whether it computes what every such bundle does, or its own.

A bundle whose config differs from the template where it decides about contours is run by its config, through MONAI
(:mod:`oarseg.inference.configured`). All others are run without: the same steps, in the same code.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from oarseg.bundles import FOLDER
from oarseg.checksum import verified
from oarseg.errors import ConfigError
from oarseg.sites import Site, load_site

BUNDLE = "hn_ct_two_stage"
TEMPLATE = FOLDER / "templates" / "two_stage" / "inference.json"
CONFIG, METADATA, TABLE = "configs/inference.json", "configs/metadata.json", "configs/site.json"
# What decides about contours; the rest of a config is about files and devices.
STEPS = ("imports", "site", "preprocessing", "organs", "inferer")
NETWORK = ("network_def", "network")


@dataclass(frozen=True, eq=False)
class Bundle:
    """A two-stage bundle on disk. ``weights``: bundle, version, file and sha256, for the report.

    ``stock_steps``: everything but the networks is as in the template; ``stock_network``: the networks are, too.
    """

    root: Path
    site: Site
    weights: dict[str, str]
    weight_file: Path
    config: dict[str, Any] = field(repr=False)
    stock_steps: bool
    stock_network: bool


def read_bundle(root: str | Path | None = None) -> Bundle:
    """The bundle in the folder ``root``; the installed one by default.

    Raises ConfigError where the folder is no bundle or not whole, WeightsError where its weights are missing or not the
    ones it names.
    """
    folder = Path(root) if root else FOLDER / BUNDLE
    if not (folder / CONFIG).is_file():
        raise ConfigError(f"{folder} is not a bundle: it has no {CONFIG}")
    config, meta, template = _json(folder / CONFIG), _json(folder / METADATA), _json(TEMPLATE)
    path, checksum = verified(folder)
    site = load_site(str(folder / TABLE))
    told = {"bundle": folder.name, "version": str(meta.get("version")), "file": path.name, "sha256": checksum}
    same = {key: config.get(key) == template.get(key) for key in (*STEPS, *NETWORK)}
    return Bundle(
        folder, site, told, path, config, all(same[key] for key in STEPS), all(same[key] for key in NETWORK)
    )


def _json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises ConfigError where there is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path.parent.parent} is not a whole bundle: {path.name}: {error}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path.parent.parent} is not a whole bundle: {path.name} is no JSON object")
    return content
