"""What the stored rows say, in numbers: per organ, with 95 % intervals over cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from experiments.localization.store import FACES, LEAST_CASE_SHARE, LEAST_SHARE, BoxRow, ShiftRow
from oarseg.sites import Organ

RESAMPLES, SEED = 2000, 2020
Interval = tuple[float, float]


@dataclass(frozen=True)
class Coverage:
    """Of ``cases``, how many stage 1 ``found`` the organ in, and in how many its box ``held`` enough of it.

    ``interval``: exact 95 % interval of the share held (Clopper and Pearson). ``margin_alone``: how many would be held
    without the least size. ``lowest``: share of the worst case.
    """

    cases: int
    found: int
    held: int
    margin_alone: int
    interval: Interval
    lowest: float

    @property
    def enough(self) -> bool:
        """Whether the cases at hand meet the requirement."""
        return self.held >= LEAST_CASE_SHARE * self.cases


def coverage(rows: Sequence[BoxRow]) -> Coverage:
    """Summary of the rows of one organ and section."""
    held = sum(row.share >= LEAST_SHARE for row in rows)
    interval = stats.binomtest(held, len(rows)).proportion_ci()
    return Coverage(
        len(rows),
        sum(row.found for row in rows),
        held,
        sum(row.share_margin >= LEAST_SHARE for row in rows),
        (float(interval.low), float(interval.high)),
        min(row.share for row in rows),
    )


def room(row: BoxRow, organ: Organ) -> tuple[float, ...]:
    """How far each face of the enlarged box lies outside of what it must hold, mm, in the order of ``FACES``.

    Negative where the organ is cut off. Of a row that was found.
    """
    free = [max(m, (f - s) / 2) for m, f, s in zip(organ.margin_mm, organ.field_mm, row.size, strict=True)]
    return tuple(free[i // 2] - getattr(row, f"need_{face}") for i, face in enumerate(FACES))


@dataclass(frozen=True)
class Curve:
    """Change of Dice against the unshifted reference's box, at each distance: ``change`` and its 95 % ``interval``.

    The mean over cases of each case's mean over the six directions. ``interval`` is None for a single case. ``dice``:
    mean Dice in the unshifted reference's box, of the same cases.
    """

    cases: int
    dice: float
    shifts_mm: tuple[float, ...]
    change: tuple[float, ...]
    interval: tuple[Interval | None, ...]


def curve(rows: Sequence[ShiftRow], start: str) -> Curve | None:
    """The curve of one organ from one start; None where no row has that start."""
    base = {r.case: r.dice for r in rows if r.start == "reference" and r.direction == "none"}
    own = [r for r in rows if r.start == start and r.case in base]
    if not own:
        return None
    cases = sorted({r.case for r in own})
    shifts = sorted({r.shift_mm for r in own})
    changes = []
    for shift in shifts:
        at = {case: [r.dice for r in own if r.case == case and r.shift_mm == shift] for case in cases}
        changes.append([float(np.mean(dice)) - base[case] for case, dice in at.items() if dice])
    return Curve(
        len(cases),
        float(np.mean([base[case] for case in cases])),
        tuple(shifts),
        tuple(float(np.mean(c)) for c in changes),
        tuple(mean_interval(c) for c in changes),
    )


def worst_direction(rows: Sequence[ShiftRow], start: str) -> tuple[str, float, float]:
    """Direction, mm and mean change of Dice of the shift that costs most of those that are shifted farthest."""
    base = {r.case: r.dice for r in rows if r.start == "reference" and r.direction == "none"}
    farthest = max(r.shift_mm for r in rows if r.start == start)
    far = [r for r in rows if r.start == start and r.shift_mm == farthest and r.case in base]
    means = {f: [r.dice - base[r.case] for r in far if r.direction == f] for f in FACES}
    direction = min((f for f in FACES if means[f]), key=lambda f: float(np.mean(means[f])))
    return direction, farthest, float(np.mean(means[direction]))


def mean_interval(values: Sequence[float]) -> Interval | None:
    """95 % percentile bootstrap interval of the mean; None below two values."""
    if len(values) < 2:
        return None
    if np.ptp(values) == 0:  # scipy warns about resamples that do not vary
        return float(values[0]), float(values[0])
    result = stats.bootstrap(
        (np.asarray(values),), np.mean, n_resamples=RESAMPLES, method="percentile", random_state=SEED
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)
