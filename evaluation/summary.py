"""Scores of many cases in a few figures: by organ, and the mean over organs, each with a bootstrap interval.

Cases are resampled, never organs: two organs of one patient are not independent. The interval is the percentile
interval (Efron and Tibshirani, 1993) of ``RESAMPLES`` resamples with a fixed seed, so the same scores always give the
same figures. With few cases it is too narrow; below ``LEAST_CASES`` there is none, as its ends would be the lowest and
highest value themselves. Nor has a mean over organs one where fewer cases label one of them: that organ's share of the
uncertainty is not known, and leaving it out would make the mean look surer than it is.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from oarseg.evaluation.scores import Status
from oarseg.sites import Site

RESAMPLES = 10_000
SEED = 20200601
CONFIDENCE = 0.95
# With 3 cases one resample in 27 is one case three times: more often than 2.5 %.
LEAST_CASES = 4
MEASURES = ("dice", "surface_dice", "hd95_mm", "msd_mm", "centroid_mm", "volume_error_cm3", "volume_error_percent")
# Resamples held at a time, so that thousands of cases do not fill the memory.
_BLOCK = 500
# Draws for at most so many cases (8 MB) are kept for the next table.
_KEPT = 100


@dataclass(frozen=True)
class Stat:
    """One measure over ``n`` cases; ``left_out``: cases without it (a distance to a missed organ).

    ``sd`` with n - 1, None for one case. ``low``, ``high``: bootstrap interval of the mean, None below ``LEAST_CASES``.
    """

    n: int
    left_out: int
    mean: float
    sd: float | None
    median: float
    lowest: float
    highest: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class OrganSummary:
    """``n``: cases that score (all but the rightly absent). ``stats``: by measure; None where no case has it."""

    organ: str
    n: int
    missed: int
    spurious: int
    absent: int
    swapped: int
    stats: Mapping[str, Stat | None]

    @property
    def dice(self) -> Stat | None:
        return self.stats["dice"]


@dataclass(frozen=True)
class MeanStat:
    """Mean over ``organs`` of their means, with the interval that resampling the cases gives.

    ``low``, ``high``: None where fewer than ``LEAST_CASES`` cases have one of the organs.
    """

    organs: int
    mean: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Summary:
    """``organs``: by key, in the table's order. ``mean``: by measure. ``cases``: how many there are.

    ``covered``: as ``mean``, over the organs that ``LEAST_CASES`` cases or more have.
    """

    cases: int
    organs: Mapping[str, OrganSummary]
    mean: Mapping[str, MeanStat | None]
    covered: Mapping[str, MeanStat | None]


def summarize(rows: Sequence[Mapping], site: Site) -> Summary:
    """Return the figures of rows of :func:`oarseg.evaluation.cases.score_case` or ``read_scores``.

    Organs without a row are left out; those that ``site`` does not know come last, by name.
    """
    known = list(site.values)
    keys = sorted({row["organ"] for row in rows}, key=lambda k: (known.index(k) if k in known else len(known), k))
    organs = {key: _organ(key, [row for row in rows if row["organ"] == key]) for key in keys}
    mean, covered = (
        {measure: mean_over_organs(rows, measure, least) for measure in MEASURES} for least in (1, LEAST_CASES)
    )
    return Summary(len({row["case"] for row in rows}), organs, mean, covered)


def _organ(key: str, rows: list[Mapping]) -> OrganSummary:
    scored = [row for row in rows if row["status"] != Status.ABSENT]
    count = {s.value: sum(r["status"] == s for r in rows) for s in (Status.MISSED, Status.SPURIOUS, Status.ABSENT)}
    stats = {measure: describe([row[measure] for row in scored]) for measure in MEASURES}
    return OrganSummary(key, len(scored), **count, swapped=sum(row["swapped"] for row in rows), stats=stats)


def describe(values: Iterable[float | None]) -> Stat | None:
    """Return the figures of one measure; blanks (None) are counted and left out. None where nothing is left."""
    values = list(values)
    kept = [float(v) for v in values if v is not None]
    if not kept:
        return None
    low, high = interval(np.array(kept)[:, None])
    return Stat(
        n=len(kept),
        left_out=len(values) - len(kept),
        mean=statistics.fmean(kept),
        sd=statistics.stdev(kept) if len(kept) > 1 else None,
        median=statistics.median(kept),
        lowest=min(kept),
        highest=max(kept),
        low=low,
        high=high,
    )


def mean_over_organs(rows: Iterable[Mapping], measure: str = "dice", least: int = 1) -> MeanStat | None:
    """Return the mean over organs of the organs' means of ``measure``; None where no row has it.

    ``least``: organs that fewer cases have are left out. Each organ weighs the same, however many cases label it. Where
    a resample holds no case of an organ, the organ's mean over all cases stands in: otherwise an organ that few cases
    label would come and go, and the interval would show which organs are easy and not how sure the mean is.
    """
    table, _ = by_case(rows, measure)
    table = table[:, (~np.isnan(table)).sum(axis=0) >= least]
    table = table[~np.isnan(table).all(axis=1)]
    if not table.size:
        return None
    low, high = interval(table)
    return MeanStat(table.shape[1], float(np.nanmean(table, axis=0).mean()), low, high)


def by_case(rows: Iterable[Mapping], measure: str) -> tuple[np.ndarray, list[str]]:
    """Return ``measure`` as (cases, organs), NaN where there is none, and the organs; no row or column is empty."""
    kept = [row for row in rows if row[measure] is not None]
    cases = {case: i for i, case in enumerate(dict.fromkeys(row["case"] for row in kept))}
    organs = {organ: i for i, organ in enumerate(dict.fromkeys(row["organ"] for row in kept))}
    table = np.full((len(cases), len(organs)), np.nan)
    for row in kept:
        table[cases[row["case"]], organs[row["organ"]]] = row[measure]
    return table, list(organs)


def interval(table: np.ndarray) -> tuple[float | None, float | None]:
    """Return the percentile bootstrap interval of the mean over columns of the columns' means.

    ``table``: (cases, columns). None where a column has fewer than ``LEAST_CASES`` cases.
    """
    cases, there = len(table), ~np.isnan(table)
    if cases < LEAST_CASES or there.sum(axis=0).min() < LEAST_CASES:
        return None, None
    filled, whole = np.where(there, table, 0.0), np.nanmean(table, axis=0)
    means = []
    for weights in _kept_draws(cases) if cases <= _KEPT else _draws(cases):
        total, count = weights @ filled, weights @ there.astype(float)
        organ = np.where(count > 0, total / np.maximum(count, 1), whole)
        means.append(organ.mean(axis=1))
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(np.concatenate(means), [tail, 1 - tail])
    return float(low), float(high)


def _draws(cases: int) -> Iterator[np.ndarray]:
    """Yield how often each case is drawn, (resamples, cases), block by block; the same for every table.

    It is the same as drawing cases with replacement, and needs one matrix product.
    """
    rng = np.random.default_rng(SEED)
    for begin in range(0, RESAMPLES, _BLOCK):
        size = min(_BLOCK, RESAMPLES - begin)
        yield rng.multinomial(cases, np.full(cases, 1 / cases), size=size).astype(float)


@lru_cache(maxsize=8)
def _kept_draws(cases: int) -> tuple[np.ndarray, ...]:
    return tuple(_draws(cases))
