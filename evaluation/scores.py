"""``scores.csv``: one row a case and organ, as :func:`oarseg.evaluation.cases.score_case` makes them.

Figures are stored as they are in the rows (rounded there), so that what is computed from a file and from memory agrees.
A blank field is None: a distance to an organ that was not found, a percentage of nothing.
"""

from __future__ import annotations

import contextlib
import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path

from oarseg.errors import ConfigError, InputError
from oarseg.files import write_text
from oarseg.text import printable

FIELDS = (
    "case", "organ", "dice", "surface_dice", "hd95_mm", "msd_mm", "centroid_mm", "reference_cm3", "predicted_cm3",
    "volume_error_cm3", "volume_error_percent", "status", "swapped", "tolerance_mm",
)  # fmt: skip
CASE_FIELDS = (
    "case", "classes", "pixel_accuracy", "mean_pixel_accuracy", "mean_iou", "frequency_weighted_iou", "not_judged",
)  # fmt: skip
TEXTS = ("case", "organ", "status")
# Far beyond any cohort: such a file is something else.
MAX_BYTES = 256 << 20


class Status(StrEnum):
    """What became of an organ that the reference labels."""

    OK = "ok"  # in the reference and in the prediction
    MISSED = "missed"  # in the reference only
    SPURIOUS = "spurious"  # in the prediction only
    ABSENT = "absent"  # in neither


def write_scores(path: str | Path, rows: Iterable[Mapping]) -> None:
    """Write rows with the keys ``FIELDS``; the file appears whole or not at all. Raises OutputError."""
    write_text(Path(path), csv_text(FIELDS, rows))


def csv_text(fields: Sequence[str], rows: Iterable[Mapping]) -> str:
    """Return rows as CSV with a header; None is blank."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, fields, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def read_scores(path: str | Path) -> list[dict]:
    """Return the rows of a scores file: numbers as float, ``swapped`` as bool, blanks as None.

    Raises InputError where the file is missing or unreadable, ConfigError where it is no such file: which line, what
    was found.
    """
    path = Path(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ConfigError(f"{path} is larger than {MAX_BYTES >> 20} MiB, so no scores file; give scores.csv")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"no scores at {path} ({error.strerror}); write them with oarseg evaluate") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is no text; give a scores.csv as oarseg evaluate writes it") from error
    reader = csv.DictReader(io.StringIO(text, newline=""))
    try:
        missing = [name for name in FIELDS if name not in (reader.fieldnames or ())]
        if missing:
            raise ConfigError(f"{path} lacks the columns {', '.join(missing)}; expected {', '.join(FIELDS)}")
        rows = [_typed(row, f"{path}, line {reader.line_num}") for row in reader]
    except csv.Error as error:
        raise ConfigError(f"{path}, line {reader.line_num}: {error}; expected CSV") from error
    _check_unique(rows, path)
    return rows


def _check_unique(rows: list[dict], path: Path) -> None:
    seen = set()
    for row in rows:
        pair = row["case"], row["organ"]
        if pair in seen:
            raise ConfigError(f"{path}: case {pair[0]!r} has two rows for {pair[1]!r}; expected each organ once")
        seen.add(pair)
    if not rows:
        raise ConfigError(f"{path} holds no row; expected one for each case and organ")


def _typed(row: dict, where: str) -> dict:
    if None in row or None in row.values():
        raise ConfigError(f"{where}: {len(FIELDS)} fields expected, found another number")
    # The file may be anybody's, and its words go to a terminal.
    typed: dict = {name: printable(row[name]) for name in TEXTS}
    for name in FIELDS:
        if name not in typed and name != "swapped":
            typed[name] = _number(row[name], name, where)
    if row["swapped"] not in ("True", "False"):
        raise ConfigError(f"{where}: swapped is {row['swapped'][:40]!r}, expected True or False")
    typed["swapped"] = row["swapped"] == "True"
    if not typed["case"] or not typed["organ"]:
        raise ConfigError(f"{where}: case and organ must be named")
    if typed["status"] not in list(Status):
        raise ConfigError(f"{where}: status {typed['status']!r}, expected one of {', '.join(Status)}")
    typed["status"] = Status(typed["status"])
    if (typed["dice"] is None) != (typed["status"] == Status.ABSENT):
        raise ConfigError(f"{where}: Dice {row['dice']!r} does not go with status '{typed['status']}'")
    return {name: typed[name] for name in FIELDS}


def _number(text: str, name: str, where: str) -> float | None:
    if text == "":
        return None
    with contextlib.suppress(ValueError):
        if math.isfinite(value := float(text)):
            return value
    raise ConfigError(f"{where}: {name} is {text[:40]!r}, expected a finite number or nothing")
