"""The organ table of a body site, read from ``sites/<site>.json`` and checked.

Index order of every triple is D, H, W: slices (towards superior), rows (towards posterior), columns (towards left).
Millimetres throughout.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path

from oarseg.errors import ConfigError
from oarseg.fields import build, flag, maybe, no_duplicates, number, several, text, whole
from oarseg.sites.check import problems

Triple = tuple[float, float, float]
FOLDER = Path(__file__).resolve().parent
# Beside the tables, no sites: SNOMED CT codes, published volumes and clinics' names of the organs of all of them (see
# ``oarseg.sites.codes``, ``oarseg.sites.volumes`` and ``oarseg.sites.roi_names``).
CODES = "snomed.json"
VOLUMES = "published_volumes.json"
ROI_NAMES = "roi_names.json"
# A table of 254 organs with all its fields is a tenth of this; more is no table.
MAX_BYTES = 1_000_000


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
    ``extent_mm``: the largest usual size of its box, which the field is checked against. ``one_piece``: False for an
    organ that is seen in several pieces, such as loops of bowel.
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
    extent_mm: Triple | None = None
    one_piece: bool = True


@dataclass(frozen=True)
class Site:
    """A body site: its localizer and its organs, in order of label value.

    ``prefix``: what its bundles' names begin with. ``organ_bundles``: name of an organ's bundle, with ``{key}``.
    ``symmetric``: a mirrored patient is a plausible one (False where heart or liver are seen), so that training mirrors
    and both sides share one network. ``data``: what the weights were trained on, for cards. ``sources``: where the
    sizes come from. ``path``: the file it was read from.
    """

    site: str
    prefix: str
    title: str
    localizer: Localizer
    organs: tuple[Organ, ...]
    organ_bundles: str = "{key}_ct_segmentation"
    symmetric: bool = True
    data: str | None = None
    sources: tuple[str, ...] = ()
    path: Path | None = field(default=None, compare=False)

    def organ(self, name: str) -> Organ:
        """Return the organ with a key or TG-263 name, in any case: ``parotid_left``, ``Parotid_L``, ``PAROTID_L``.

        Raises ConfigError with the name that was perhaps meant, and all there are.
        """
        known = {word.casefold(): organ for organ in self.organs for word in (organ.name, organ.key)}
        if found := known.get(name.strip().casefold()):
            return found
        # Several, so that no side is proposed alone.
        near = dict.fromkeys(known[word].key for word in get_close_matches(name.strip().casefold(), known, n=4))
        meant = f"; did you mean {' or '.join(near)}?" if near else "."
        held = ", ".join(f"{o.key} ({o.name})" for o in self.organs)
        raise ConfigError(f"organ {name!r} is not in site {self.site!r}{meant} The site has: {held}")

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
    """Return label values of ``organs`` that change places when left and right do, each pair once."""
    values = {o.key: o.value for o in organs}
    return [(o.value, values[o.mirror]) for o in organs if o.mirror and o.value < values[o.mirror]]


TRIPLE, SIZES = several(number, 3), several(whole, 3)
NETWORK = {"base_width": whole, "mean": number, "std": number}
LOCALIZER = {"spacing_mm": TRIPLE, "window": SIZES, "train_crop": SIZES} | NETWORK
ORGAN = {
    "key": text, "value": whole, "name": text, "title": text, "mirror": maybe(text), "color": SIZES, "grid": SIZES,
    "field_mm": TRIPLE, "margin_mm": TRIPLE, "volume_cm3": several(number, 2), "extent_mm": maybe(TRIPLE),
    "one_piece": flag,
} | NETWORK  # fmt: skip
SITE = {
    "site": text, "prefix": text, "title": text, "organ_bundles": text, "symmetric": flag, "data": maybe(text),
    "sources": several(text), "localizer": lambda row: row, "organs": lambda rows: rows,
}  # fmt: skip


def load_site(name: str = "head_neck") -> Site:
    """Return the site of ``sites/<name>.json`` (or of the JSON file that ``name`` is a path of).

    Raises ConfigError where the table is missing, unreadable, malformed, or contradicts itself.
    """
    path = Path(name) if str(name).endswith(".json") else FOLDER / f"{name}.json"
    try:
        site = _parse(_read(path), path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ConfigError(f"no site table {path.name}; known sites: {', '.join(known_sites())}") from error
    except OSError as error:
        raise ConfigError(f"site table {path.name} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"site table {path.name} is malformed: {error}") from error
    if found := problems(site):
        raise ConfigError(f"site table {path.name}: " + "; ".join(found))
    return site


@lru_cache
def facts(name: str) -> dict:
    """Return what a table beside the sites (``CODES``, ``VOLUMES``, ``ROI_NAMES``) holds."""
    return json.loads((FOLDER / name).read_text(encoding="utf-8"))


def known_sites() -> list[str]:
    """Return the names of the tables that come with oarseg."""
    return sorted(path.stem for path in FOLDER.glob("*.json") if path.name not in (CODES, VOLUMES, ROI_NAMES))


def _read(path: Path) -> object:
    with open(path, encoding="utf-8") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValueError(f"more than {MAX_BYTES // 1000} kB, expected a table of organs")
    return json.loads(content, object_pairs_hook=no_duplicates)


def _parse(raw: object, path: Path) -> Site:
    site = build(
        dict, raw, SITE, ("organ_bundles", "symmetric", "data", "sources"), "the table", path=path.resolve()
    )  # fmt: skip
    if not isinstance(site["organs"], list):
        raise ValueError("organs must be a list of objects")
    site["localizer"] = build(Localizer, site["localizer"], LOCALIZER, (), "localizer")
    site["organs"] = tuple(
        build(Organ, row, ORGAN, ("extent_mm", "one_piece"), _where(number, row))
        for number, row in enumerate(site["organs"], start=1)
    )
    return Site(**site)


def _where(number: int, row: object) -> str:
    """Return what a row is called in messages: its key where it has one."""
    key = row.get("key") if isinstance(row, dict) else None
    return f"organ {key!r}" if isinstance(key, str) and len(key) < 40 else f"organ {number}"


def load_organ(configs: str | Path) -> Organ:
    """Return the organ that a bundle is about: the row of ``configs/site.json`` that ``configs/organ.json`` names."""
    folder = Path(configs)
    site = load_site(str(folder / "site.json"))
    try:
        return site.organ(json.loads((folder / "organ.json").read_text(encoding="utf-8"))["key"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f'{folder.parent.name}/configs/organ.json must be {{"key": ORGAN}}: {error}') from error
