"""The result of each case, on disk as soon as it is known: a line of JSON a case in ``cases.jsonl``.

A run that is killed loses at most the line that it was writing; the next run ignores that line and repeats the case.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from oarseg.errors import ConfigError, OutputError
from oarseg.files import write_json
from oarseg.images.results_folder import REPORT

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

JOURNAL, SETTINGS, TABLE, PAGE, LOCK = "cases.jsonl", "batch.json", "cases.csv", "index.html", "batch.lock"
# Files of a batch beside the folders of its cases.
OWN_FILES = (JOURNAL, SETTINGS, TABLE, PAGE, LOCK)
DONE, FAILED = "done", "failed"


class Journal:
    """The journal of the folder ``out``. ``rows``: by case name, the last one of each."""

    def __init__(self, out: Path) -> None:
        self.path = out / JOURNAL
        content = _read(self.path)
        self.rows = _rows(content)
        # A line that a killed run left unfinished is ended before the next one.
        self._pending = b"" if content.endswith(b"\n") or not content else b"\n"

    def add(self, row: dict[str, Any]) -> None:
        """Append a row, which has "case" and "status". Raises OutputError where it cannot be written."""
        try:
            with open(self.path, "ab") as file:
                file.write(self._pending + json.dumps(row).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise OutputError(f"{self.path} cannot be written ({error.strerror}); make room and start again") from error
        self._pending = b""
        self.rows[row["case"]] = row

    def row_of(self, name: str, fingerprint: str) -> dict[str, Any] | None:
        """Return the row of the case ``name`` if it is of this very CT; None where the case has to be done."""
        row = self.rows.get(name)
        if row is None or row.get("input") != fingerprint:
            return None
        empty = row["status"] == FAILED and not row.get("contoured")
        return row if empty or (self.path.parent / name / REPORT).is_file() else None


def claim(out: Path, settings: dict[str, Any]) -> None:
    """Begin a batch with these settings in ``out``, or continue one.

    Raises ConfigError where it holds a batch of other settings, OutputError where it is somebody else's or cannot be
    used.
    """
    path = out / SETTINGS
    try:
        out.mkdir(parents=True, exist_ok=True)
        if path.exists():
            found = json.loads(path.read_text(encoding="utf-8"))
            if differ := [key for key in settings if found.get(key) != settings[key]]:
                raise ConfigError(
                    f"{out} holds a batch of other settings ({', '.join(differ)}); give another folder, or the same "
                    "settings"
                )
            return
        if any(not p.name.startswith(".") for p in out.iterdir()):
            raise OutputError(f"{out} is not empty and holds no batch; give another folder")
        write_json(path, settings, indent=2)
    except OSError as error:
        raise OutputError(f"{out} cannot be used ({error.strerror}); give a folder that can be written") from error
    except (ValueError, AttributeError) as error:
        raise ConfigError(f"{path} is damaged; give another folder") from error


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Lock the folder of a batch, so that no second one writes into it. Raises ConfigError where another does.

    The system releases the lock when the process ends, however it ends. Without such locks nothing is locked.
    """
    if fcntl is None:
        yield
        return
    with open(out / LOCK, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(f"another oarseg batch is at work in {out}; wait for it, or stop it") from error
        except OSError:
            pass  # a file system without locks
        yield


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes() if path.exists() else b""
    except OSError as error:
        raise OutputError(f"{path} cannot be read ({error.strerror})") from error


def _rows(content: bytes) -> dict[str, dict[str, Any]]:
    rows: dict[str, dict[str, Any]] = {}
    for line in content.splitlines():
        try:
            row = json.loads(line)
            if row["status"] in (DONE, FAILED):
                rows[str(row["case"])] = row
        except (ValueError, KeyError, TypeError):
            continue
    return rows
