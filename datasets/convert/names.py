"""Names as clinics and data sets spell them -> TG-263 names -> organ keys. Nothing is guessed.

A name is an organ's if, after normalisation, it is one of the spellings of ``names.json``, whole: "Parotid_L_PRV" or
"Parotid L boost" is none. Normalisation: case, accents and separators do not count, nor where words are joined
("BrainStem", "brain-stem"). A side is a word of its own ("Lt", "left", "_L", the L of "ParotidL"), anywhere in the
name, exactly once; an organ that has no side must have none ("Mandible_L" is half a mandible), one that has a side
must have it ("Parotid" is nobody's). What is left over is reported, and can be mapped by a file of one's own.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from oarseg.errors import ConfigError, InputError
from oarseg.sites import Site
from oarseg.text import printable

TABLE = Path(__file__).with_name("names.json")
MAX_NAME = 256


@dataclass(frozen=True)
class NameTable:
    """``spellings``: organ key by side ("L", "R" or "") and joined words. ``sides``: side by word. ``own``: the
    user's, letter by letter; None for a name that is to be passed over.
    """

    spellings: Mapping[tuple[str, str], str]
    sides: Mapping[str, str]
    own: Mapping[str, str | None] = field(default_factory=dict)

    def organ(self, name: str) -> str | None:
        """The organ key of a name, None where it is no organ of the table."""
        name = name.strip()
        return self.own[name] if name in self.own else self._listed(name)

    def ignored(self, name: str) -> bool:
        """Whether the user's own file says that the name is to be passed over."""
        return name.strip() in self.own and self.own[name.strip()] is None

    def organs(self, names: Iterable[str], where: str) -> dict[str, str]:
        """Name by organ key. Raises ConfigError where two names are one organ."""
        found: dict[str, str] = {}
        for name in names:
            key = self.organ(name)
            if key in found:
                told = f"{printable(found[key])!r} and {printable(name)!r}"
                raise ConfigError(f"{where}: {told} are both {key}; say by --names which is not: {{NAME: null}}")
            if key:
                found[key] = name
        return found

    def _listed(self, name: str) -> str | None:
        words = normalised(name)
        sides = [self.sides[word] for word in words if word in self.sides]
        rest = "".join(word for word in words if word not in self.sides)
        return self.spellings.get(("".join(sides), rest)) if len(sides) < 2 else None


def normalised(name: str) -> list[str]:
    """The words of a name, without case, accents and separators.

    >>> normalised("LtParotid-Gland"), normalised("OPTIC NERVE_L")
    (['lt', 'parotid', 'gland'], ['optic', 'nerve', 'l'])
    """
    plain = unicodedata.normalize("NFKD", name[:MAX_NAME])
    plain = "".join(c for c in plain if not unicodedata.combining(c))
    # "ParotidL", "LTParotid": words begin with a capital.
    parted = re.sub(r"(?<=[^\W\d_A-Z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", plain)
    return [word.casefold() for word in re.split(r"[\W_]+", parted) if word]


def load_table(site: Site, own: Path | None = None) -> NameTable:
    """The table for the organs of ``site``, and the user's file ``own``: {name: organ key, TG-263 name or null}.

    Raises InputError (no such file) or ConfigError (malformed, an unknown organ, a name that is two organs).
    """
    content = json.loads(TABLE.read_text(encoding="utf-8"))
    sides = {word: side for side, words in content["sides"].items() for word in words}
    spellings: dict[tuple[str, str], str] = {}
    for organ in site.organs:
        side = organ.name[-1] if organ.mirror and organ.name.endswith(("_L", "_R")) else ""
        # The table's own name counts for an organ that has no spellings.
        base = organ.name[:-2] if side else organ.name
        for spelling in [base, *content["spellings"].get(organ.name, [])]:
            key = (side, "".join(normalised(spelling)))
            if spellings.setdefault(key, organ.key) != organ.key:
                raise ConfigError(f"names.json: {spelling!r} is {spellings[key]} and {organ.key}; expected one organ")
    table = NameTable(spellings, sides)
    return NameTable(spellings, sides, _read_own(own, site, table)) if own else table


def _read_own(path: Path, site: Site, table: NameTable) -> dict[str, str | None]:
    try:
        rows = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=list)
    except OSError as error:
        raise InputError(f"no map of names at {path} ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is no JSON ({error}); expected {{NAME: organ key or null}}") from error
    pairs = isinstance(rows, list) and all(isinstance(r, tuple) and isinstance(r[1], str | None) for r in rows)
    if not pairs:
        raise ConfigError(f'{path} must be a JSON object of names, such as {{"Medulla": "brainstem", "Globes": null}}')
    keys = {organ.name: organ.key for organ in site.organs}
    found: dict[str, str | None] = {}
    alike: dict[tuple[str, ...], tuple[str, str | None]] = {}
    for name, organ in ((n.strip(), keys.get(o, o)) for n, o in rows):
        if organ is not None:
            site.organ(organ)
        # Two spellings that differ in case alone are one name to whoever reads them.
        other, before = alike.setdefault(tuple(normalised(name)), (name, organ))
        listed = table.organ(name)
        if before != organ or (listed and organ and listed != organ):
            told = f"{printable(other)!r} is {before}" if before != organ else f"by its name it is {listed}"
            raise ConfigError(f"{path.name}: {printable(name)!r} is {organ}, but {told}; expected one organ a name")
        found[name] = organ
    return found
