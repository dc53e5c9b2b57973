"""The organ table of a body site, read from ``sites/<site>.json`` and checked.

Index order of every triple is D, H, W: slices (towards superior), rows (towards posterior), columns (towards left).
Millimetres throughout.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from oarseg.errors import ConfigError

Triple = tuple[float, float, float]
FOLDER = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Localizer:
    """Stage 1: one network at one spacing for all organs.

    ``spacing_mm``: Z_s, R_s, R_s of eqs 3-6 and 3-7. ``window``: voxels seen in one pass. ``train_crop``: voxels of a
    training sample. ``mean`` and ``std``: of the scaled intensities (eqs 3-3, 3-4).
    """

    spacing_mm: Triple
    window: tuple[int, int, int]
    train_crop: tuple[int, int, int]
    base_width: int
    mean: float
    std: float


@dataclass(frozen=True)
class Organ:
    """One row of the table.

    ``name``: TG-263 name. ``mirror``: key of the same organ on the other side, or None. ``grid``: stage-2 voxels.
    ``margin_mm``: added on each side of the stage-1 box. ``field_mm``: the least size of the crop, so that an organ is
    seen at one scale unless its box needs more. ``volume_cm3``: plausible range; outside it the user is warned.
    """

    key: str
    value: int
    name: str
    title: str
    mirror: str | None
    color: tuple[int, int, int]
    grid: tuple[int, int, int]
    field_mm: Triple
    margin_mm: Triple
    volume_cm3: tuple[float, float]
    base_width: int
    mean: float
    std: float


@dataclass(frozen=True)
class Site:
    """A body site: its localizer and its organs, in order of label value."""

    site: str
    prefix: str
    title: str
    localizer: Localizer
    organs: tuple[Organ, ...]

    def organ(self, key: str) -> Organ:
        """The row of ``key``. Raises ConfigError with the keys that exist."""
        for organ in self.organs:
            if organ.key == key:
                return organ
        known = ", ".join(o.key for o in self.organs)
        raise ConfigError(f"organ {key!r} is not in site {self.site!r}; it has: {known}")

    @property
    def values(self) -> dict[str, int]:
        """Label value by organ key."""
        return {o.key: o.value for o in self.organs}

    @property
    def class_weights(self) -> list[float]:
        """Weights a_t of the focal loss (eq. 3-10), background first: small organs count as much as the largest.

        The background weighs 1, an organ the largest typical volume over its own (geometric mean of its range).
        """
        typical = [(o.volume_cm3[0] * o.volume_cm3[1]) ** 0.5 for o in self.organs]
        return [1.0] + [max(typical) / volume for volume in typical]

    @property
    def mirror_pairs(self) -> list[tuple[int, int]]:
        """Label values that change places when left and right do, each pair once."""
        return mirror_pairs(self.organs)


def mirror_pairs(organs: Sequence[Organ]) -> list[tuple[int, int]]:
    """Label values of ``organs`` that change places when left and right do, each pair once."""
    values = {o.key: o.value for o in organs}
    return [(o.value, values[o.mirror]) for o in organs if o.mirror and o.value < values[o.mirror]]


def load_site(name: str = "head_neck") -> Site:
    """Read ``sites/<name>.json`` (or the JSON file that ``name`` is a path of).

    Raises ConfigError where the table is missing, malformed, or contradicts itself.
    """
    path = Path(name) if str(name).endswith(".json") else FOLDER / f"{name}.json"
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        localizer = Localizer(**_tuples(raw["localizer"]))
        organs = tuple(Organ(**_tuples(row)) for row in raw["organs"])
        site = Site(raw["site"], raw["prefix"], raw["title"], localizer, organs)
    except FileNotFoundError as error:
        known = ", ".join(sorted(p.stem for p in FOLDER.glob("*.json")))
        raise ConfigError(f"no site table {path.name}; known sites: {known}") from error
    except (json.JSONDecodeError, KeyError, TypeError, UnicodeDecodeError) as error:
        raise ConfigError(f"site table {path.name} is malformed: {error}") from error
    _check(site, path.name)
    return site


def _tuples(row: dict) -> dict:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in row.items()}


def _check(site: Site, where: str) -> None:
    keys = [o.key for o in site.organs]
    problems = []
    if [o.value for o in site.organs] != list(range(1, len(keys) + 1)):
        problems.append("label values must be 1, 2, 3, ... in order")
    for field in ("key", "name", "color"):
        seen = [getattr(o, field) for o in site.organs]
        if len(set(seen)) != len(seen):
            problems.append(f"two organs share one {field}")
    for organ in site.organs:
        if not re.fullmatch(r"[a-z][a-z0-9_]*", organ.key):
            problems.append(f"{organ.key!r}: a key is lower-case letters, digits and underscores")
        if organ.mirror and (organ.mirror not in keys or site.organ(organ.mirror).mirror != organ.key):
            problems.append(f"{organ.key}: mirror must name an organ that names it back")
        if any(g % 8 for g in organ.grid):
            problems.append(f"{organ.key}: grid must divide by 8 (three poolings)")
    if problems:
        raise ConfigError(f"site table {where}: " + "; ".join(problems))


def load_organ(configs: str | Path) -> Organ:
    """The organ that a bundle is about: the row of ``configs/site.json`` that ``configs/organ.json`` names."""
    folder = Path(configs)
    site = load_site(str(folder / "site.json"))
    try:
        return site.organ(json.loads((folder / "organ.json").read_text(encoding="utf-8"))["key"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f'{folder.parent.name}/configs/organ.json must be {{"key": ORGAN}}: {error}') from error
