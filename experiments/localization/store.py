"""What is stored about stage 1's boxes: one row a case and organ, and one row a shifted box.

``results/localization.csv`` and ``results/box_shift.csv`` are written by :mod:`experiments.localization.run` and by
nothing else. Each row names the weights it was measured with, so that rows of two trainings are never mixed.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from oarseg.errors import ConfigError, InputError
from oarseg.files import whole_file
from oarseg.sites import Organ, Site

RESULTS = Path(__file__).resolve().parents[1] / "results"
BOXES = RESULTS / "localization.csv"
SHIFTS = RESULTS / "box_shift.csv"
# Low and high face along D, H, W of an image in SPL orientation, then the axes themselves.
FACES = ("inferior", "superior", "anterior", "posterior", "right", "left")
AXES = ("I-S", "A-P", "R-L")
STARTS = ("reference", "stage1")
# The requirement: so much of the reference inside the box, in so many of the cases.
LEAST_SHARE = 0.995
LEAST_CASE_SHARE = 0.98
# More rows than this are no evaluation of ours.
MOST_ROWS = 1_000_000

Row = TypeVar("Row", "BoxRow", "ShiftRow")


@dataclass(frozen=True)
class BoxRow:
    """Stage 1's box of one organ in one case against the reference.

    ``silver``: the reference is a silver label. ``share``: of the reference's voxels, inside the enlarged box that
    stage 2 sees; ``share_margin``: inside the box enlarged by the margin alone, without the least size. ``size_*``: of
    the box as stage 1 found it, mm. ``face_*``: how far its face lies outside of the reference's box, mm; negative
    where it cuts into it. ``need_*``: by how much the face must move outwards to hold ``LEAST_SHARE`` of the voxels,
    mm; negative where there is room to spare. Where stage 1 did not find the organ, the shares are 0 and the mm NaN.
    ``rule``: how the box was enlarged, see ``rule_of``.
    """

    section: str
    case: str
    organ: str
    silver: bool
    found: bool
    reference_cm3: float
    share: float
    share_margin: float
    size_d: float
    size_h: float
    size_w: float
    face_inferior: float
    face_superior: float
    face_anterior: float
    face_posterior: float
    face_right: float
    face_left: float
    need_inferior: float
    need_superior: float
    need_anterior: float
    need_posterior: float
    need_right: float
    need_left: float
    rule: str
    weights: str

    @property
    def size(self) -> tuple[float, float, float]:
        """mm, D, H, W."""
        return self.size_d, self.size_h, self.size_w

    @property
    def faces(self) -> tuple[float, ...]:
        """``face_*`` in the order of ``FACES``."""
        return tuple(getattr(self, f"face_{face}") for face in FACES)

    @property
    def needs(self) -> tuple[float, float, float]:
        """The margin needed along D, H, W: that of the face that needs more, mm."""
        both = [getattr(self, f"need_{face}") for face in FACES]
        return max(both[0:2]), max(both[2:4]), max(both[4:6])


@dataclass(frozen=True)
class ShiftRow:
    """Stage 2 in one shifted box.

    ``start``: whose box was shifted, "reference" or "stage1". ``direction``: where to, of ``FACES``, or "none".
    ``share``: of the reference's voxels, inside the enlarged box. ``dice``: on the image's own voxels. ``rule``: see
    ``rule_of``.
    """

    case: str
    organ: str
    start: str
    direction: str
    shift_mm: float
    share: float
    dice: float
    rule: str
    weights: str


def write_rows(path: Path, rows: Sequence[BoxRow | ShiftRow]) -> None:
    """Store rows of one kind as CSV, under a temporary name until whole. Raises OutputError where it cannot."""
    if not rows:
        raise ConfigError(f"nothing to write to {path.name}: no case labels an organ of the table")
    with whole_file(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [f.name for f in fields(rows[0])])
        writer.writeheader()
        writer.writerows({k: _text(v) for k, v in asdict(row).items()} for row in rows)


def read_boxes(path: Path, site: Site) -> list[BoxRow]:
    """The rows of ``coverage``. Raises InputError where there are none, ConfigError where they are malformed."""
    rows = _read(path, BoxRow, site)
    for row in rows:
        if not (0 <= row.share <= 1 and 0 <= row.share_margin <= 1):
            raise ConfigError(f"{path.name}: {row.case} {row.organ}: shares must lie between 0 and 1; run it again")
        if row.found and not all(map(math.isfinite, (*row.size, *row.faces, *row.needs))):
            raise ConfigError(f"{path.name}: {row.case} {row.organ}: found, but its box has no size; run it again")
    return rows


def read_shifts(path: Path, site: Site) -> list[ShiftRow]:
    """The rows of ``shift``. Raises InputError where there are none, ConfigError where they are malformed."""
    rows = _read(path, ShiftRow, site)
    for row in rows:
        if row.start not in STARTS or row.direction not in (*FACES, "none") or not 0 <= row.dice <= 1:
            raise ConfigError(f"{path.name}: {row.case} {row.organ}: no such start, direction or Dice; run it again")
    return rows


def rule_of(organ: Organ) -> str:
    """Margin and least size of an organ's box in mm, D x H x W, as rows name them."""
    return " ".join("x".join(f"{mm:g}" for mm in triple) for triple in (organ.margin_mm, organ.field_mm))


def checked_weights(rows: Iterable[BoxRow | ShiftRow], site: Site) -> str:
    """The weights that all rows were measured with.

    Raises ConfigError where there are several, or where a row's box was enlarged by another rule than the table's.
    """
    rows = list(rows)
    found = sorted({row.weights for row in rows})
    if len(found) != 1:
        raise ConfigError(f"results of different weights ({', '.join(found)}); run coverage and shift again")
    for row in rows:
        rule = rule_of(site.organ(row.organ))
        if row.rule != rule:
            raise ConfigError(
                f"{row.organ} was measured with margin and field {row.rule}, the table has {rule}; "
                "run coverage and shift again"
            )
    return found[0]


def by_organ(rows: Sequence[Row], site: Site) -> list[tuple[Organ, list[Row]]]:
    """Rows of each organ that has any, in the table's order."""
    groups = [(organ, [row for row in rows if row.organ == organ.key]) for organ in site.organs]
    return [(organ, group) for organ, group in groups if group]


def _read(path: Path, kind: type[Row], site: Site) -> list[Row]:
    names = [f.name for f in fields(kind)]
    try:
        with open(path, newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            if reader.fieldnames != names:
                raise ConfigError(f"{path.name}: columns {reader.fieldnames}, expected {names}; run it again")
            rows = [_row(kind, raw) for _, raw in zip(range(MOST_ROWS), reader, strict=False)]
    except FileNotFoundError as error:
        raise InputError(f"no results at {path}; run coverage and shift first") from error
    except (ValueError, TypeError, UnicodeDecodeError, csv.Error, OSError) as error:
        raise ConfigError(f"{path.name} is not a table of stored results: {error}") from error
    if not rows:
        raise ConfigError(f"{path.name} has no rows; run coverage and shift again")
    for key in {row.organ for row in rows}:
        site.organ(key)
    return rows


def _row(kind: type[Row], raw: dict[str, Any]) -> Row:
    # Annotations are text here (from __future__ import annotations).
    read = {"str": str, "float": lambda t: float(t) if t else math.nan, "bool": _flag}
    if None in raw or None in raw.values():
        raise ValueError(f"row {list(raw.values())[:3]} has too few or too many values")
    return kind(**{f.name: read[str(f.type)](raw[f.name]) for f in fields(kind)})


def _flag(text: str) -> bool:
    if text not in ("True", "False"):
        raise ValueError(f"{text!r} is neither True nor False")
    return text == "True"


def _text(value: Any) -> Any:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.4f}".rstrip("0").rstrip(".")
    return value
