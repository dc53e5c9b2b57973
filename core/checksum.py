"""A bundle's weight file and its checksum, without what is needed to load it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from oarseg.errors import WeightsError

FILE = "models/model.pt"


def sha256(path: str | Path) -> str:
    """Hex SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verified(bundle_root: str | Path) -> tuple[Path, str]:
    """A bundle's own weight file and its SHA-256, once it is the one that the bundle's metadata names.

    Raises WeightsError where the file is missing or another one.
    """
    root = Path(bundle_root)
    path = root / FILE
    if not path.is_file():
        raise WeightsError(f"weights missing: {path}; fetch them or train the bundle")
    try:
        wanted = json.loads((root / "configs" / "metadata.json").read_text(encoding="utf-8"))["weights_sha256"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise WeightsError(f"{root / 'configs' / 'metadata.json'} names no weights_sha256") from error
    found = sha256(path)
    if found != wanted:
        raise WeightsError(f"{path} has SHA-256 {found[:12]}..., but the bundle's metadata names {str(wanted)[:12]}...")
    return path, found
