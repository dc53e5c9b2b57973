"""A two-stage bundle's folder, read as JSON, and the check that its config states the method that oarseg runs.

``oarseg segment`` runs one method, in numpy, with the bundle's organ table and weights. A config may say otherwise: it
is a MONAI config, and ``monai.bundle run`` runs whatever it says. Such a bundle is refused by name. What the config
says about files, devices and handlers, and what else it defines, does not matter.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oarseg.bundles import FOLDER
from oarseg.checksum import FILE, part_files, verified
from oarseg.errors import ConfigError
from oarseg.sites import Site, load_site

BUNDLE = "hn_ct_two_stage"
CONFIG, METADATA, TABLE = "configs/inference.json", "configs/metadata.json", "configs/site.json"
# The method, by the options of each part that decide about contours. Reading, checking and saving are the caller's.
PREPROCESSING = [
    {"_target_": "Orientationd", "keys": "image", "axcodes": "SPL"},
    {"_target_": "ScaleIntensityRanged", "keys": "image", "a_min": -1000, "a_max": 600, "b_min": 0, "b_max": 1,
     "clip": True},
]  # fmt: skip
POSTPROCESSING = [{"_target_": "Invertd", "keys": "pred", "orig_keys": "image", "nearest_interp": True}]
INFERER = {"_target_": "TwoStageInferer", "organs": None, "localizer": None}
NETWORK = {"_target_": "TwoStageNet.for_site"}
OTHERS = {"LoadCTd", "LoadImaged", "EnsureChannelFirstd", "CheckCTd", "SaveImaged"}
HARMLESS = {"_desc_", "_mode_", "labels", "allow_missing_keys", "to_tensor", "device", "transform", "site", "amp"}
MOST_REFERENCES = 16
# A network may also be put onto a device and into a memory layout.
_REFERENCE = re.compile(r"\$?@([\w#:]+)(?:\.(?:to|eval|cpu|cuda|float)\([^()]*\))*")


@dataclass(frozen=True, eq=False)
class Bundle:
    """A two-stage bundle on disk. ``weights``: bundle, version, file, sha256 (:mod:`oarseg.checksum`)."""

    root: Path
    site: Site
    weights: dict[str, str]
    weight_file: Path


def read_bundle(root: str | Path | None = None) -> Bundle:
    """Return the bundle in the folder ``root``; the installed one by default.

    Raises ConfigError if the folder is no two-stage bundle, not whole, or has a config that states another method;
    WeightsError if its weights are missing or not the ones that its metadata name.
    """
    folder = Path(root) if root else FOLDER / BUNDLE
    if not (folder / CONFIG).is_file():
        raise ConfigError(f"{folder} is not a bundle: it has no {CONFIG}")
    config, meta = _json(folder / CONFIG), _json(folder / METADATA)
    if difference := other_method(config):
        raise ConfigError(
            f"{folder}: {CONFIG} has {difference}, which oarseg does not run; run the bundle by: "
            f"python -m monai.bundle run --bundle_root {folder} --config_file {folder / CONFIG} "
            f"--meta_file {folder / METADATA} --dataset_dir FOLDER_OF_CTS"
        )
    path, checksum = verified(folder)
    file = path.name if path.is_file() else f"{path.name} of {len(part_files(folder))} bundles"
    facts = {"bundle": folder.name, "version": str(meta.get("version")), "file": file, "sha256": checksum}
    return Bundle(folder, load_site(str(folder / TABLE)), facts, path)


def other_method(config: Mapping[str, Any]) -> str | None:
    """Return what in a two-stage bundle's inference config changes contours, by section; None if nothing does.

    Sections are those that the evaluator uses, whatever their ids. Options that have no effect do not count.
    """
    evaluator, dataset = (_mapping(config.get(key)) for key in ("evaluator", "dataset"))
    inferer = _found(config, evaluator.get("inferer", "@inferer"))
    if _name(inferer) != INFERER["_target_"]:
        return f"no TwoStageInferer as its inferer but {_name(inferer)}"
    network = _found(config, evaluator.get("network", "@network"))
    site, weights = str(config.get("site")), str(config.get("ckpt_path", FILE))
    differences = {
        "preprocessing": _transforms(config, dataset.get("transform", "@preprocessing"), PREPROCESSING),
        "inferer": _options(config, inferer, INFERER),
        "network": _options(config, network, NETWORK),
        "postprocessing": _transforms(config, evaluator.get("postprocessing", "@postprocessing"), POSTPROCESSING),
        "site": None if re.search(rf"load_site\(.*{TABLE}.*\)", site) else site,
        "ckpt_path": None if FILE in weights else weights,
    }
    return next((f"its own {section} ({text})" for section, text in differences.items() if text), None)


def _transforms(config: Mapping[str, Any], section: Any, expected: list[dict[str, Any]]) -> str | None:
    """Return how a chain of transforms differs from the expected one; None if it does not."""
    chain = _found(config, section)
    chain = _found(config, chain.get("transforms", [])) if isinstance(chain, Mapping) else chain
    if not isinstance(chain, list):
        return str(chain)
    rows = [row for row in (_found(config, row) for row in chain) if _name(row) not in OTHERS and not _disabled(row)]
    names, method = [_name(row) for row in rows], [row["_target_"] for row in expected]
    # A chain that does not turn the label map back writes the same contours on turned voxels.
    if names != method and (names or expected is not POSTPROCESSING):
        return f"{', '.join(names) or 'nothing'} instead of {', '.join(method)}"
    found = (_options(config, row, like) for row, like in zip(rows, expected, strict=False))
    return next((text for text in found if text), None)


def _options(config: Mapping[str, Any], section: Any, expected: Mapping[str, Any]) -> str | None:
    """Return which option of a section differs from the expected ones; None if none does."""
    name = _name(section)
    if name != expected["_target_"]:
        return f"{name} instead of {expected['_target_']}"
    for key in sorted((section.keys() | expected.keys()) - {"_target_", *HARMLESS}):
        value = _found(config, section.get(key))
        if (value[0] if isinstance(value, list) and len(value) == 1 else value) != expected.get(key):
            return f"{name}: {key} is {value!r}, not {expected.get(key)!r}"
    return None


def _found(config: Mapping[str, Any], value: Any) -> Any:
    """Return what a reference such as "@network" leads to, through others too; any other value as it is."""
    for _ in range(MOST_REFERENCES):
        match = _REFERENCE.fullmatch(value) if isinstance(value, str) else None
        if match is None:
            break
        value = config
        for part in re.split("#|::", match[1]):
            inner = dict(enumerate(value)) if isinstance(value, list) else _mapping(value)
            value = inner.get(int(part) if isinstance(value, list) and part.isdigit() else part)
    return value


def _mapping(value: Any) -> Mapping[Any, Any]:
    return value if isinstance(value, Mapping) else {}


def _disabled(row: Any) -> bool:
    return _mapping(row).get("_disabled_") in (True, "true")


def _name(section: Any) -> str:
    """Return the class that a section makes: of MONAI and oarseg without the module, in MONAI's usual spelling."""
    target = str(_mapping(section).get("_target_", str(section)[:60]))
    if target.startswith(("monai.", "oarseg.")):
        target = ".".join(target.split(".")[-2 if target.endswith(".for_site") else -1 :])
    return re.sub(r"(?<=[a-z])(D|Dict)$", "d", target)


def _json(path: Path) -> dict[str, Any]:
    """Return a JSON object. Raises ConfigError if the file holds none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path.parent.parent} is not a whole bundle: {path.name}: {error}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path.parent.parent} is not a whole bundle: {path.name} is no JSON object")
    return content
