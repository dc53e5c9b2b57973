"""A bundle's weights and their checksum, without what is needed to load them.

A bundle keeps its weights in ``models/model.pt``. A two-stage bundle may have no such file: its networks are those of
the bundles beside it, its parts, and ``weights_parts`` in its metadata names the bundle and SHA-256 of each.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from oarseg.errors import WeightsError

FILE, METADATA = "models/model.pt", "configs/metadata.json"
# Keys of the metadata. The first is the identity of the weights, whether they lie in one file or in parts. The third
# is the checksum of a file that was put together from parts: PyTorch may write the same weights in other bytes.
IDENTITY, PARTS, MODEL = "weights_sha256", "weights_parts", "model_sha256"
# Prefixes, checksums and names of bundles, as one part of a path.
_NAME = re.compile(r"[\w.-]{1,100}", re.ASCII)


def sha256(path: str | Path) -> str:
    """Return the hex SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_parts(parts: Mapping[str, Mapping[str, str]]) -> str:
    """Return the identity of weights in parts: the SHA-256 of lines ``PREFIX SHA256``, sorted.

    ``parts``: by the prefix that the part's weights have in the whole, such as "organs.brainstem": ``bundle``, the
    name of the part's bundle, and ``sha256``, of its weight file.
    """
    lines = sorted(f"{prefix} {part['sha256']}\n" for prefix, part in parts.items())
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def verified(bundle_root: str | Path) -> tuple[Path, str]:
    """Return the path of a bundle's weight file and the identity of its weights, having checked that they agree.

    Where the bundle has no file, its parts are checked, and the path is the one that the file would have:
    :func:`oarseg.training.weights.read_state` takes it all the same.
    Raises WeightsError where weights are missing or not the ones that the metadata name.
    """
    root = Path(bundle_root)
    path, meta = root / FILE, read_metadata(root)
    parts = _parts(root, meta)
    if not path.is_file() and not parts:
        raise WeightsError(f"weights missing: {path}; fetch them or train the bundle")
    if not isinstance(identity := meta.get(IDENTITY), str):
        raise WeightsError(f"{root / METADATA} names no {IDENTITY}")
    if path.is_file() and MODEL not in meta:
        _check(path, sha256(path), identity, root)
        return path, identity
    files = part_files(root)
    if sha256_of_parts(parts) != identity:
        raise WeightsError(f"{root / METADATA}: {IDENTITY} is not that of its {PARTS}; run: oarseg bundles sync")
    if path.is_file():
        _check(path, sha256(path), str(meta[MODEL]), root)
        return path, identity
    for prefix, file in files.items():
        _check(file, verified(file.parents[1])[1], parts[prefix]["sha256"], root)
    return path, identity


def part_files(bundle_root: str | Path) -> dict[str, Path]:
    """Return the weight files that a bundle's weights are put together from, by prefix; none if it has its own.

    Raises WeightsError where one is missing, or the metadata's list is damaged.
    """
    root = Path(bundle_root)
    if (root / FILE).is_file():
        return {}
    # A bundle may be a link: its parts lie beside the link, or beside what it leads to.
    places = dict.fromkeys(Path(place).parent for place in (os.path.abspath(root), os.path.realpath(root)))
    found = {}
    for prefix, part in _parts(root, read_metadata(root)).items():
        files = [place / part["bundle"] / FILE for place in places]
        found[prefix] = next((file for file in files if file.is_file()), files[0])
        if not found[prefix].is_file():
            raise WeightsError(
                f"weights missing: {root} has no {FILE}, nor is {files[0]} there to take a part of it from; put "
                f"{part['bundle']} beside it, or unpack a packed {root.name}"
            )
    return found


def weights_size(bundle_root: str | Path) -> int:
    """Return the bytes of a bundle's weight file, or of its parts. Raises WeightsError where one is missing."""
    files = list(part_files(bundle_root).values()) or [verified(bundle_root)[0]]
    return sum(file.stat().st_size for file in files)


def has_weights(bundle_root: str | Path) -> bool:
    """Whether a bundle's weight file, or every part of its weights, is there; nothing is checked."""
    try:
        return bool(part_files(bundle_root)) or (Path(bundle_root) / FILE).is_file()
    except WeightsError:
        return False


def _check(path: Path, found: str, expected: str, root: Path) -> None:
    if found != expected:
        raise WeightsError(
            f"{path} has SHA-256 {found[:12]}..., but the metadata of {root} names {expected[:12]}...; if the weights "
            "were changed on purpose, run: oarseg bundles sync"
        )


def read_metadata(bundle_root: str | Path) -> dict[str, Any]:
    """Return a bundle's metadata; empty where it has none, or they are damaged."""
    try:
        content = json.loads((Path(bundle_root) / METADATA).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _parts(root: Path, meta: dict[str, Any]) -> dict[str, dict[str, str]]:
    """The parts that the metadata name. Raises WeightsError where the list is damaged."""
    parts = meta.get(PARTS, {})
    for prefix, part in parts.items() if isinstance(parts, dict) else [("", None)]:
        texts = [prefix, part.get("bundle"), part.get("sha256")] if isinstance(part, dict) else [None]
        # A name of one folder: metadata that came from elsewhere lead nowhere else.
        if not all(isinstance(text, str) and _NAME.fullmatch(text) and text not in (".", "..") for text in texts):
            raise WeightsError(f"{root / METADATA}: {PARTS} is damaged; run: oarseg bundles sync")
    return parts
