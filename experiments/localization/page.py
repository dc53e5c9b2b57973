"""``docs/localization.md``: the stored results of localization as tables."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from experiments.localization.margins import margins_table
from experiments.localization.store import (
    FACES,
    LEAST_CASE_SHARE,
    LEAST_SHARE,
    BoxRow,
    ShiftRow,
    by_organ,
    checked_weights,
)
from experiments.localization.summary import Curve, coverage, curve, room, worst_direction
from oarseg.sites import Site

TIGHTEST = 6

INTRODUCTION = """# Localization quality

Whether the boxes of stage 1 hold the organs, and how much a misplaced box costs.

![Dice of stage 2 in shifted boxes, and the room that stage 1's boxes leave](localization.png)

Written by `python -m experiments.localization.run figure` from `experiments/results/localization.csv` and
`experiments/results/box_shift.csv`; do not edit. Measured with the two-stage weights `{weights}` (start of their
SHA-256).
"""
COVERAGE = """## Do stage 1's boxes hold the organs?

Stage 2 sees nothing outside its box. The box is that of stage 1, enlarged by the organ's margin, and at least as large
as the organ's field. A box holds an organ if {share:.1%} of the reference's voxels lie inside; {cases:.0%} of the cases
must be held. An organ that stage 1 does not find counts as not held.

- "Margin alone": cases that would be held without the field.
- "Interval": exact 95% interval of the share of cases held. Few cases cannot prove {cases:.0%}.
- "References": clinical or expert contours ("own"); in training also silver labels. The localizer has seen the training
  cases. A contour that shows only part of its organ is always inside.
"""
FACE_TEXT = """## How far are the faces off?

How far each face of stage 1's box, before it is enlarged, lies outside the reference's box, in mm; a negative face cuts
into the reference. Median (5% to 95% of the cases). Directions are the image's axes nearest to the patient's. Around a
partial contour the faces lie far out.
"""
SHIFT_TEXT = """## What does a misplaced box cost?

The boxes of the validation cases were moved on purpose, then enlarged and segmented as usual, each organ alone. The
table shows the change of Dice against the unshifted box of the reference: the mean over cases of the mean over six
directions, with a 95% bootstrap interval over cases. Rows "stage 1" start from stage 1's box; their first column is the
cost of stage 1's own errors.
"""


def page(boxes: Sequence[BoxRow], shifts: Sequence[ShiftRow], site: Site) -> str:
    """The whole page. Raises ConfigError where the rows are of different weights or of another organ table."""
    weights = checked_weights([*boxes, *shifts], site)
    parts = [
        INTRODUCTION.format(weights=weights),
        COVERAGE.format(share=LEAST_SHARE, cases=LEAST_CASE_SHARE),
        coverage_table(boxes, site),
        "",
        tightest_table(boxes, site),
        "",
        FACE_TEXT,
        faces_table(boxes, site),
        "",
        "## Margins\n",
        margins_table(boxes, site),
        "",
        SHIFT_TEXT,
        shift_table(shifts, site),
        "",
    ]
    return "\n".join(parts)


def coverage_table(rows: Sequence[BoxRow], site: Site) -> str:
    """Markdown: one row for each section, organ and kind of reference."""
    lines = [
        "| section | organ | references | cases | found | held | interval | enough | margin alone | lowest share |",
        "|" + "---|" * 10,
    ]
    for section, organ, kind, group in groups(rows, site):
        c = coverage(group)
        lines.append(
            f"| {section} | {organ} | {kind} | {c.cases} | {c.found} | {c.held} ({c.held / c.cases:.0%}) "
            f"| {c.interval[0]:.0%} to {c.interval[1]:.0%} | {'yes' if c.enough else 'no'} "
            f"| {c.margin_alone} | {c.lowest:.4f} |"
        )
    return "\n".join(lines)


def groups(rows: Sequence[BoxRow], site: Site) -> list[tuple[str, str, str, list[BoxRow]]]:
    """Rows by section, organ name and kind of reference ("own" or "silver"), validation first."""
    sections = sorted({row.section for row in rows}, reverse=True)
    return [
        (section, organ.name, "silver" if silver else "own", some)
        for section in sections
        for organ, group in by_organ([r for r in rows if r.section == section], site)
        for silver in (False, True)
        if (some := [row for row in group if row.silver == silver])
    ]


def tightest_table(rows: Sequence[BoxRow], site: Site) -> str:
    """Markdown: in each section the boxes that hold least or have least room, own references only."""
    lines = [
        f"The {TIGHTEST} boxes of each section that hold least, or else have least room (own references; mm):",
        "",
        "| section | case | organ | share | tightest face | room |",
        "|" + "---|" * 6,
    ]
    for section in sorted({row.section for row in rows}, reverse=True):
        own = [row for row in rows if row.section == section and not row.silver]
        rooms = {id(row): room(row, site.organ(row.organ)) if row.found else (-np.inf,) for row in own}
        for row in sorted(own, key=lambda r: (min(r.share, LEAST_SHARE), min(rooms[id(r)])))[:TIGHTEST]:
            least = rooms[id(row)]
            where = f"{FACES[int(np.argmin(least))]} | {min(least):.1f}" if row.found else "stage 1 did not find it | "
            lines.append(f"| {section} | {row.case} | {site.organ(row.organ).name} | {row.share:.4f} | {where} |")
    return "\n".join(lines)


def faces_table(rows: Sequence[BoxRow], site: Site) -> str:
    """Markdown: quantiles of each face's distance, by section, organ and kind of reference."""
    lines = [f"| section | organ | references | cases | {' | '.join(FACES)} |", "|" + "---|" * 10]
    for section, organ, kind, group in groups(rows, site):
        found = [row.faces for row in group if row.found]
        if found:
            low, middle, high = np.quantile(np.array(found), [0.05, 0.5, 0.95], axis=0)
            cells = [f"{round(b)} ({round(a)} to {round(c)})" for a, b, c in zip(low, middle, high, strict=True)]
            lines.append(f"| {section} | {organ} | {kind} | {len(found)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def shift_table(rows: Sequence[ShiftRow], site: Site) -> str:
    """Markdown: one row for each organ and start."""
    shifts = sorted({row.shift_mm for row in rows})
    head = " | ".join(f"{shift:g} mm" for shift in shifts)
    lines = [
        f"| organ | cases | Dice unshifted | box of | {head} | worst direction |",
        "|" + "---|" * (len(shifts) + 5),
    ]
    for organ, group in by_organ(rows, site):
        for start, title in (("reference", "the reference"), ("stage1", "stage 1")):
            line = curve(group, start)
            if line:
                cells = " | ".join(_change(line, shift) for shift in shifts)
                where, far, change = worst_direction(group, start)
                lines.append(
                    f"| {organ.name} | {line.cases} | {line.dice:.3f} | {title} | {cells} "
                    f"| {where}: {change:+.3f} at {far:g} mm |"
                )
    return "\n".join(lines)


def _change(line: Curve, shift: float) -> str:
    if shift not in line.shifts_mm:
        return ""
    index = line.shifts_mm.index(shift)
    interval = line.interval[index]
    between = f" ({interval[0]:+.3f} to {interval[1]:+.3f})" if interval else ""
    return f"{line.change[index]:+.3f}{between}"
