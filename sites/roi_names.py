"""Names of contours as clinics and data sets spell them, and the organs that they mean. Nothing is guessed.

A name is an organ's if, after normalisation, it is one of the spellings of ``roi_names.json``, whole: "Parotid_L_PRV"
or "Parotid L boost" is none. Normalisation: case, accents and separators do not count, nor where words are joined
("BrainStem", "brain-stem"). A side is a word of its own ("Lt", "left", "links", "_L", the L of "ParotidL"), anywhere in
the name, exactly once; an organ without a side must have none ("Mandible_L" is half a mandible), one with a side must
have it ("Parotid" is nobody's). What is left over is reported, and a map of the user's own can say what it is.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from oarseg.errors import ConfigError
from oarseg.files import reading_json
from oarseg.sites.table import ROI_NAMES, Site, facts
from oarseg.text import printable

MAX_NAME = 256
# Sides that mean something else before an organ: "sin parotida" is Spanish for "without", "re-parotid" drawn again.
NEVER_FIRST = ("sin", "re", "der")


@dataclass(frozen=True)
class NameTable:
    """The names of contours that are known, and what they mean.

    Args:
        spellings: organ key by side ("L", "R" or "") and joined words.
        sides: side by word.
        own: the user's names, letter by letter; None for a name that is to be passed over.
    """

    spellings: Mapping[tuple[str, str], str]
    sides: Mapping[str, str]
    own: Mapping[str, str | None] = field(default_factory=dict)

    def organ(self, name: str) -> str | None:
        """Return the organ key of a name, None where it is no organ of the table."""
        name = name.strip()
        return self.own[name] if name in self.own else self._listed(name)

    def ignored(self, name: str) -> bool:
        """Return whether the user's own map says that the name is to be passed over."""
        return name.strip() in self.own and self.own[name.strip()] is None

    def unknown(self, names: Iterable[str]) -> list[str]:
        """Return the names that are neither an organ nor passed over by the user's own map."""
        return [name for name in names if self.organ(name) is None and not self.ignored(name)]

    def organs(self, names: Iterable[str], where: str) -> dict[str, str]:
        """Return the name by organ key. Raises ConfigError where two names are one organ."""
        found: dict[str, str] = {}
        for name in names:
            key = self.organ(name)
            if key in found:
                both = f"{printable(found[key])!r} and {printable(name)!r}"
                raise ConfigError(f"{where}: {both} are both {key}; say by --names which is not: {{NAME: null}}")
            if key:
                found[key] = name
        return found

    def suggestion(self, names: Iterable[str]) -> dict[str, str | None]:
        """Return a map of ``names`` to edit and to give back: organ key by name, None where it is not known."""
        return {name: self.organ(name) for name in sorted({*names, *self.own})}

    def _listed(self, name: str) -> str | None:
        sides, rest = [], ""
        for place, word in enumerate(normalised(name)):
            if word in self.sides and (place or word not in NEVER_FIRST):
                sides.append(self.sides[word])
            else:
                rest += word
        return self.spellings.get(("".join(sides), rest)) if len(sides) < 2 else None


def normalised(name: str) -> list[str]:
    """Return the words of a name, without case, accents and separators.

    >>> normalised("LtParotid-Gland"), normalised("OPTIC NERVE_L")
    (['lt', 'parotid', 'gland'], ['optic', 'nerve', 'l'])
    """
    plain = unicodedata.normalize("NFKD", name[:MAX_NAME])
    plain = "".join(c for c in plain if not unicodedata.combining(c))
    # "ParotidL", "LTParotid": words begin with a capital.
    parted = re.sub(r"(?<=[^\W\d_A-Z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", plain)
    return [word.casefold() for word in re.split(r"[\W_]+", parted) if word]


def load_names(site: Site, own: Path | None = None) -> NameTable:
    """Return the names of the organs of ``site``.

    Args:
        site: whose organs count.
        own: the user's map, a JSON file: {name: organ key, TG-263 name or null}.
    Raises InputError (no such file) or ConfigError (malformed, an unknown organ, a name that is two organs).
    """
    content = facts(ROI_NAMES)
    sides = {word: side for side, words in content["sides"].items() for word in words}
    spellings: dict[tuple[str, str], str] = {}
    for organ in site.organs:
        side = organ.name[-1] if organ.mirror and organ.name.endswith(("_L", "_R")) else ""
        # The table's own name counts for an organ that has no spellings.
        base = organ.name[:-2] if side else organ.name
        for spelling in [base, *content["spellings"].get(organ.name, [])]:
            key = (side, "".join(normalised(spelling)))
            if spellings.setdefault(key, organ.key) != organ.key:
                raise ConfigError(f"{ROI_NAMES}: {spelling!r} is {spellings[key]} and {organ.key}; expected one organ")
    table = NameTable(spellings, sides)
    return NameTable(spellings, sides, _read_own(own, site, table)) if own else table


def _read_own(path: Path, site: Site, table: NameTable) -> dict[str, str | None]:
    with reading_json(path, "map of names", 'give an object such as {"Medulla": "brainstem", "Globes": null}'):
        rows = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=list)
        if not isinstance(rows, list) or not all(isinstance(r, tuple) and isinstance(r[1], str | None) for r in rows):
            raise ValueError("expected an organ key or null by name")
    found: dict[str, str | None] = {}
    alike: dict[tuple[str, ...], tuple[str, str | None]] = {}
    for name, organ in ((n.strip(), o if o is None else site.organ(o).key) for n, o in rows):
        # Two spellings that differ in case alone are one name to whoever reads them.
        other, before = alike.setdefault(tuple(normalised(name)), (name, organ))
        listed = table.organ(name)
        if before != organ or (listed and organ and listed != organ):
            conflict = f"{printable(other)!r} is {before}" if before != organ else f"by its name it is {listed}"
            raise ConfigError(f"{path.name}: {printable(name)!r} is {organ}, but {conflict}; expected one organ a name")
        found[name] = organ
    return found
