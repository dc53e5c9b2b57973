"""The folder of silver labels that ``experiments.silver.run`` writes: its list, read and checked.

    FOLDER/silver.json      {"section", "round", "source", "cases": {IMAGE: {"label", "organs": {ORGAN: ORIGIN}}}}
    FOLDER/labels/*.nii.gz  a label map a case: the case's own labels and its silver ones

``IMAGE`` is the image's name in ``dataset.json``; ``ORIGIN`` says who drew an organ: ``"network"`` or ``"propagated"``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from oarseg.errors import InputError
from oarseg.files import reading_json

LIST = "silver.json"
NETWORK, PROPAGATED = "network", "propagated"


@dataclass(frozen=True)
class SilverCase:
    """``label``: absolute path of the label map. ``organs``: who drew each silver organ in it, by organ key."""

    label: Path
    organs: Mapping[str, str]


@dataclass(frozen=True)
class SilverList:
    """``section`` of the datalist that the labels are for; how many rounds of self-training; cases by image name."""

    section: str
    round: int
    cases: Mapping[str, SilverCase]


def read_silver(folder: str | Path) -> SilverList:
    """Read ``folder/silver.json``.

    Raises InputError where it or a label map is missing or lies outside the folder, ConfigError where it is malformed.
    """
    root = Path(folder).resolve()
    path = root / LIST
    with reading_json(path, "list of silver labels", "silver is true, false, or a folder of experiments.silver.run"):
        content = json.loads(path.read_text(encoding="utf-8"))
        section, number, rows = content["section"], content["round"], content["cases"]
        cases = {image: SilverCase(inside(root, row["label"]), _origins(row["organs"])) for image, row in rows.items()}
        if not isinstance(section, str) or not isinstance(number, int):
            raise ValueError(f"section {section!r} and round {number!r} must be a name and a whole number")
    return SilverList(section, number, cases)


def _origins(organs: object) -> dict[str, str]:
    origins = {str(key): origin for key, origin in organs.items()}
    unknown = set(map(str, origins.values())) - {NETWORK, PROPAGATED}
    if unknown:
        raise ValueError(f"origin {min(unknown)!r} of an organ; expected {NETWORK!r} or {PROPAGATED!r}")
    return origins


def inside(root: Path, name: str) -> Path:
    """Return the file ``name`` in the resolved folder ``root``. Raises InputError where it is missing or outside."""
    try:
        path = (root / name).resolve()
        there = path.is_file()
    except (OSError, ValueError) as error:  # too long, a null byte, half a surrogate pair
        raise InputError(
            f"datalist names {name[:60]!r}, which is no file name; expected a path within {root.name}"
        ) from error
    if not path.is_relative_to(root):
        raise InputError(f"datalist names {name!r}, which lies outside {root.name}")
    if not there:
        raise InputError(f"datalist names {name!r}, which does not exist in {root}")
    return path
