"""What became of each case, on disk as soon as it is known: a line of JSON a case in ``cases.jsonl``.

A run that is killed loses at most the line that it was writing; the next run passes that line over and does the case
again.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from oarseg.errors import ConfigError, OutputError

JOURNAL, SETTINGS = "cases.jsonl", "batch.json"
DONE, FAILED = "done", "failed"


class Journal:
    """The journal of the folder ``out``. ``rows``: by case name, the last one of each."""

    def __init__(self, out: Path) -> None:
        self.path = out / JOURNAL
        self.rows = _read(self.path)

    def add(self, row: dict[str, Any]) -> None:
        """Append a row, which has "case" and "status". Raises OutputError where it cannot be written."""
        try:
            with open(self.path, "ab") as file:
                file.write(b"\n" if _torn(self.path) else b"")
                file.write(json.dumps(row).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise OutputError(f"{self.path} cannot be written ({error.strerror}); make room and start again") from error
        self.rows[row["case"]] = row

    def done(self, name: str) -> bool:
        """Whether the case was contoured and its results are there."""
        row = self.rows.get(name)
        return bool(row) and row["status"] == DONE and (self.path.parent / name / "report.json").is_file()


def claim(out: Path, settings: dict[str, Any]) -> None:
    """Take ``out`` for a batch with these settings, or go on with one. Raises ConfigError or OutputError.

    Results of two settings are never mixed in one folder.
    """
    path = out / SETTINGS
    try:
        out.mkdir(parents=True, exist_ok=True)
        if path.exists():
            found = json.loads(path.read_text(encoding="utf-8"))
            if differ := [key for key in settings if found.get(key) != settings[key]]:
                raise ConfigError(
                    f"{out} holds a batch with another {', '.join(differ)}; give another folder, or the same settings"
                )
            return
        if any(not p.name.startswith(".") for p in out.iterdir()):
            raise OutputError(f"{out} is not empty and holds no batch; give another folder")
        partial = path.with_suffix(".part")
        partial.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise OutputError(f"{out} cannot be used ({error.strerror}); give a folder that can be written") from error
    except (ValueError, AttributeError) as error:
        raise ConfigError(f"{path} is damaged; give another folder") from error


def _read(path: Path) -> dict[str, dict[str, Any]]:
    rows: dict[str, dict[str, Any]] = {}
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return rows
    except OSError as error:
        raise OutputError(f"{path} cannot be read ({error.strerror})") from error
    for line in lines:
        try:
            row = json.loads(line)
            if row["status"] in (DONE, FAILED):
                rows[str(row["case"])] = row
        except (ValueError, KeyError, TypeError):
            continue
    return rows


def _torn(path: Path) -> bool:
    """Whether the file ends within a line."""
    with open(path, "rb") as file:
        if not file.seek(0, os.SEEK_END):
            return False
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"
