"""Numbers in place of patients' names, and the file that says who is who. It stays outside the data set.

{"key": ..., "patients": {keyed hash of the patient ID: number}, "folders": {folder: case}}
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from oarseg.files import reading_json, write_json


@dataclass
class Numbers:
    """``key``: makes hashes of patient IDs worthless without the file. ``folders``: case name by folder name."""

    key: str = field(default_factory=lambda: secrets.token_hex(16), repr=False)
    patients: dict[str, int] = field(default_factory=dict, repr=False)
    folders: dict[str, str] = field(default_factory=dict, repr=False)

    def of(self, folder: str, patient: str) -> tuple[str, str]:
        """Return the names of the patient and of the case, such as ``p0003`` and ``p0003_1``; they never change.

        ``patient``: what tells patients apart; a folder without it is a patient of its own.
        """
        hashed = hmac.new(self.key.encode(), (patient or f"folder {folder}").encode(), hashlib.sha256).hexdigest()
        name = f"p{self.patients.setdefault(hashed, len(self.patients) + 1):04d}"
        known = self.folders.get(folder, "")
        if not known.startswith(f"{name}_"):
            taken = [int(case.split("_")[1]) for case in self.folders.values() if case.startswith(f"{name}_")]
            self.folders[folder] = f"{name}_{max(taken, default=0) + 1}"
        return name, self.folders[folder]

    def write(self, path: Path) -> None:
        """Write the file, readable by its owner alone. Raises OutputError."""
        content = {"key": self.key, "patients": self.patients, "folders": self.folders}
        write_json(path, content, mode=0o600)


def read_numbers(path: Path) -> Numbers:
    """Return the numbers of an earlier run, or none yet. Raises InputError or ConfigError where the file is damaged."""
    if not path.exists():
        return Numbers()
    with reading_json(path, "map of cases", "give another by --map"):
        content = json.loads(path.read_text(encoding="utf-8"))
        numbers = Numbers(content["key"], content["patients"], content["folders"])
        sound = isinstance(numbers.key, str) and all(isinstance(n, int) for n in numbers.patients.values())
        sound = sound and all(re.fullmatch(r"p\d{4,}_\d+", case) for case in numbers.folders.values())
        if not sound:
            raise ValueError("expected a key, numbers of patients and names of cases")
    return numbers
