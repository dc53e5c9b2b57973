"""What a conversion has done so far: ``conversion.json`` in its folder, so that a stopped run goes on.

    {"settings": {...}, "cases": {NAME: {"made_from": ..., "row": {...}}}}

A case is done while what it was made from is unchanged: names, sizes and times of its files, and which is which organ.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

from oarseg.datasets.convert.cases import SourceCase
from oarseg.errors import ConfigError, InputError, OutputError
from oarseg.files import reading_json, write_json, writing

STATE, DATALIST = "conversion.json", "dataset.json"


@dataclass
class State:
    """``settings``: what all cases share. ``cases``: ``made_from`` and ``row`` (of the datalist) by case name."""

    folder: Path
    settings: dict
    cases: dict[str, dict] = field(default_factory=dict)

    def done(self, case: SourceCase, made_from: str) -> bool:
        """Return whether the case is there, made from the same."""
        known = self.cases.get(case.name)
        if known is None or known["made_from"] != made_from:
            return False
        return all((self.folder / known["row"][part]).is_file() for part in ("image", "label"))

    def forget(self, name: str) -> None:
        """Take a case out, and its files, before it is made again: it may fail this time."""
        row = self.cases.pop(name, {"row": {}})["row"]
        if row:
            self.write()
        with writing(self.folder):
            for part in ("image", "label"):
                if part in row:
                    (self.folder / row[part]).unlink(missing_ok=True)

    def add(self, name: str, made_from: str, row: dict) -> None:
        """Put in a case that is written. Raises OutputError."""
        self.cases[name] = {"made_from": made_from, "row": row}
        self.write()

    def write(self) -> None:
        """Write ``conversion.json``. Raises OutputError."""
        write_json(self.folder / STATE, {"settings": self.settings, "cases": self.cases})


def read_state(folder: Path, settings: dict) -> State:
    """Return the state of an earlier run in ``folder``, or an empty one.

    Raises OutputError where the folder holds something else, ConfigError where it was begun with other settings or its
    state is damaged.
    """
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} is a file; give a folder for the converted set")
    path = folder / STATE
    if not path.exists():
        held = sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []
        if held:
            raise OutputError(f"{folder} holds {held[0]!r} but no {STATE}, so it is no conversion; give another folder")
        return State(folder, settings)
    with reading_json(path, "record of a conversion", "convert again to another folder"):
        content = json.loads(path.read_text(encoding="utf-8"))
        earlier, cases = dict(content["settings"]), content["cases"]
        for known in cases.values():
            if not all(isinstance(known["row"][part], str) for part in ("image", "label", "patient")):
                raise TypeError("a case without image, label or patient")
            str(known["made_from"])
    changed = sorted(key for key in settings.keys() | earlier.keys() if settings.get(key) != earlier.get(key))
    if changed:
        changes = ", ".join(f"{key} was {_short(earlier.get(key))}, now {_short(settings.get(key))}" for key in changed)
        raise ConfigError(f"{folder} was begun with other settings ({changes}); give the same, or another folder")
    return State(folder, settings, cases)


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else "another"


def made_from(case: SourceCase, source: Path) -> str:
    """Return a hash of what a case is made from. Raises InputError where a file is gone."""
    digest = hashlib.sha256(json.dumps(dict(case.organs), sort_keys=True).encode())
    try:
        for path in case.files:
            stat = path.stat()
            digest.update(f"{path.relative_to(source)}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode(errors="replace"))
    except OSError as error:
        raise InputError(f"{path.name} cannot be read ({error.strerror}); it was there a moment ago") from error
    return digest.hexdigest()
