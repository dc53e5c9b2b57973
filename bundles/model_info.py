"""``model_info.json``: address and checksum of the zip of each bundle and version, as MONAI's zoo has it.

``{"<name>_v<version>": {"checksum": SHA-1 of the zip, "source": its URL}}``
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from oarseg.errors import ConfigError, OutputError

NAME = "model_info.json"
Info = dict[str, dict[str, str]]


def sha1(path: Path) -> str:
    """Return the hex SHA-1 of a file, which MONAI's format has."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha1").hexdigest()


def parse(text: str | bytes, where: str) -> Info:
    """Return the content of a ``model_info.json`` that came from ``where``. Raises ConfigError where it is none."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{where} is not JSON: {error}") from error
    rows = content.values() if isinstance(content, dict) else [None]
    if not all(isinstance(row, dict) and {"checksum", "source"} <= set(row) for row in rows):
        raise ConfigError(f"{where} is not a model_info.json: it lists no checksum and source for each name")
    return content


def read(path: Path) -> Info:
    """Return the content of the file; empty where there is none. Raises ConfigError where it is damaged."""
    return parse(path.read_bytes(), str(path)) if path.exists() else {}


def merged(earlier: Info, new: Mapping[str, dict[str, str]], overwrite: bool) -> Info:
    """Return both, sorted by name. Raises OutputError where an entry would change and ``overwrite`` is not given.

    Raises ConfigError where MONAI, which sorts versions as text, would take an older version for the newest.
    """
    changed = [key for key, row in new.items() if earlier.get(key, row) != row]
    if changed and not overwrite:
        raise OutputError(
            f"{NAME} lists {changed[0]} with another checksum or address; raise the version, or give --overwrite"
        )
    content = {**earlier, **new}
    for key in new:
        name = key.rpartition("_v")[0]
        versions = [other.rpartition("_v")[2] for other in content if other.rpartition("_v")[0] == name]
        if max(versions) != max(versions, key=_numbers):
            raise ConfigError(
                f"MONAI sorts versions as text and would take {name} {max(versions)} for the newest of "
                f"{', '.join(sorted(versions))}; keep every part of a version below 10"
            )
    return dict(sorted(content.items()))


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdecimal())
