"""Two sets of scores of the same cases, pair by pair: B minus A.

A pair is one organ of one case that both have. Organs: mean difference with its bootstrap interval over cases, and the
Wilcoxon signed-rank test. Over all organs: the mean over organs of their mean differences, with cases resampled; the
test is on the cases' mean differences, as two organs of one patient are not independent. Holm's correction is over the
organs of one measure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from scipy.stats import wilcoxon

from oarseg.errors import ConfigError, InputError
from oarseg.evaluation.scores import csv_text, read_scores
from oarseg.evaluation.summary import LEAST_CASES, interval
from oarseg.evaluation.tables import COVERED
from oarseg.sites import Site
from oarseg.text import markdown_table

SCORES = "scores.csv"
# Digits shown, and which way is better.
MEASURES = {"dice": 3, "surface_dice": 3, "hd95_mm": 2, "msd_mm": 2}
TITLES = {"dice": "Dice", "surface_dice": "surface Dice", "hd95_mm": "HD95, mm", "msd_mm": "mean surface distance, mm"}
# With 5 differences that are not 0 the test cannot get below 0.06.
LEAST_PAIRS = 6
ALL = "mean over organs"


@dataclass(frozen=True)
class Difference:
    """One line: ``pairs`` with the means of both and of B - A; ``p``, ``p_holm`` None where there is no test.

    Over all organs ``pairs`` counts cases.
    """

    measure: str
    organ: str
    pairs: int
    mean_a: float
    mean_b: float
    difference: float
    low: float | None
    high: float | None
    p: float | None
    p_holm: float | None = None


@dataclass(frozen=True)
class Comparison:
    """``differences`` by measure and organ; the mean over organs last in each, and below it, where some organs have
    fewer than ``LEAST_CASES`` pairs, the mean over the others. ``notes``: what was left out.
    """

    differences: tuple[Difference, ...]
    notes: tuple[str, ...]


def load(place: Path) -> list[dict]:
    """Return the scores of a folder that ``oarseg evaluate`` wrote, or of a ``scores.csv``.

    Raises InputError or ConfigError.
    """
    if place.is_dir() and not (place / SCORES).is_file():
        raise InputError(f"{place} holds no {SCORES}; give a folder that oarseg evaluate has written")
    return read_scores(place / SCORES if place.is_dir() else place)


def compare(a: Sequence[Mapping], b: Sequence[Mapping], site: Site) -> Comparison:
    """Return the differences B - A of two sets of score rows. Raises ConfigError where they have no pair in common."""
    one, two = ({(row["case"], row["organ"]): row for row in rows} for rows in (a, b))
    common = [pair for pair in one if pair in two]
    if not common:
        raise ConfigError("A and B have no case and organ in common; compare scores of the same cases")
    notes = [
        f"{len(rows.keys() - other.keys())} of {len(rows)} scores of {name} have no counterpart and were left out"
        for name, rows, other in (("A", one, two), ("B", two, one))
        if rows.keys() - other.keys()
    ]
    # Rounded there to four decimals.
    other = [pair for pair in common if abs(one[pair]["reference_cm3"] - two[pair]["reference_cm3"]) > 1e-3]
    if other:
        raise ConfigError(
            f"{other[0][1]} of {other[0][0]} has {one[other[0]]['reference_cm3']:g} cm3 in A's reference and "
            f"{two[other[0]]['reference_cm3']:g} in B's ({len(other)} such); compare scores against the same references"
        )
    measures = list(MEASURES)
    if {row["tolerance_mm"] for row in [*a, *b]} != {a[0]["tolerance_mm"]}:
        measures.remove("surface_dice")
        notes.append("surface Dice was measured with different tolerances and is not compared")
    differences: list[Difference] = []
    for measure in measures:
        differences += _measure(measure, [(one[pair], two[pair]) for pair in common], site, notes)
    return Comparison(tuple(differences), tuple(notes))


def _measure(measure: str, pairs: list[tuple[Mapping, Mapping]], site: Site, notes: list[str]) -> list[Difference]:
    kept = [(a, b) for a, b in pairs if a[measure] is not None and b[measure] is not None]
    blank = sum((a[measure] is None) != (b[measure] is None) for a, b in pairs)
    if blank:
        notes.append(f"{TITLES[measure]}: {blank} pair(s) left out, as one side has none (missed, spurious or absent)")
    if not kept:
        return []
    order = {key: place for place, key in enumerate(site.values)}
    organs = sorted({a["organ"] for a, _ in kept}, key=lambda key: (order.get(key, len(order)), key))
    rows = [_difference(measure, key, [pair for pair in kept if pair[0]["organ"] == key]) for key in organs]
    corrected = holm([row.p for row in rows])
    rows = [Difference(**(asdict(row) | {"p_holm": p})) for row, p in zip(rows, corrected, strict=True)]
    overall = [_overall(measure, rows, kept, ALL)]
    covered = [row for row in rows if row.pairs >= LEAST_CASES]
    if 0 < len(covered) < len(rows):
        keys = {row.organ for row in covered}
        overall.append(_overall(measure, covered, [pair for pair in kept if pair[0]["organ"] in keys], COVERED))
    return [*rows, *overall]


def _difference(measure: str, organ: str, pairs: list[tuple[Mapping, Mapping]]) -> Difference:
    a, b = (np.array([pair[side][measure] for pair in pairs]) for side in (0, 1))
    # Scores have four decimals: what is left beyond is not a difference.
    change = (b - a).round(6)
    means = (float(values.mean()) for values in (a, b, change))
    return Difference(measure, organ, len(pairs), *means, *interval(change[:, None]), signed_rank(change))


def _overall(measure: str, rows: list[Difference], pairs: list[tuple[Mapping, Mapping]], name: str) -> Difference:
    """Return the mean over the organs of ``rows``, which ``pairs`` are of."""
    organs = [row.organ for row in rows]
    cases = list(dict.fromkeys(a["case"] for a, _ in pairs))
    table = np.full((len(cases), len(organs)), np.nan)
    for a, b in pairs:
        table[cases.index(a["case"]), organs.index(a["organ"])] = round(b[measure] - a[measure], 6)
    low, high = interval(table)
    mean = {name: float(np.mean([getattr(row, name) for row in rows])) for name in ("mean_a", "mean_b", "difference")}
    test = signed_rank(np.nanmean(table, axis=1).round(6))
    return Difference(measure, name, len(cases), **mean, low=low, high=high, p=test)


def signed_rank(change: np.ndarray) -> float | None:
    """Return the two-sided p of Wilcoxon's signed-rank test; None below ``LEAST_PAIRS`` differences that are not 0."""
    if np.count_nonzero(change) < LEAST_PAIRS:
        return None
    return float(wilcoxon(change).pvalue)


def holm(values: Iterable[float | None]) -> list[float | None]:
    """Return Holm's step-down correction (Scand. J. Stat. 6, 1979); None stays None and is not counted."""
    values = list(values)
    order = sorted((i for i, p in enumerate(values) if p is not None), key=lambda i: values[i])
    corrected: list[float | None] = [None] * len(values)
    highest = 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * values[i]))
        corrected[i] = highest
    return corrected


def comparison_markdown(comparison: Comparison, site: Site) -> str:
    """Return a Markdown table for each measure, and the notes."""
    names = {organ.key: organ.name for organ in site.organs}
    parts = []
    for measure, title in TITLES.items():
        rows = [row for row in comparison.differences if row.measure == measure]
        if rows:
            heads = (title, "pairs", "A", "B", "B - A", "95 % interval", "p", "p (Holm)")
            cells = (_cells(row, names.get(row.organ, row.organ), MEASURES[measure]) for row in rows)
            parts.append(markdown_table(heads, cells))
    parts += [f"Note: {note}." for note in comparison.notes]
    parts.append(
        "Intervals: bootstrap over cases, none below 4, nor over organs of which one has fewer; p: Wilcoxon "
        "signed-rank, none below 6 differences. Over several organs the pairs are cases."
    )
    return "\n\n".join(parts) + "\n"


def _cells(row: Difference, name: str, digits: int) -> tuple:
    span = f"{row.low:+.{digits}f} to {row.high:+.{digits}f}" if row.low is not None else "-"
    tests = ("-" if p is None else f"{p:.2g}" for p in (row.p, row.p_holm))
    means = f"{row.mean_a:.{digits}f}", f"{row.mean_b:.{digits}f}", f"{row.difference:+.{digits}f}"
    return name, row.pairs, *means, span, *tests


def comparison_csv(comparison: Comparison) -> str:
    """Return the fields of each :class:`Difference` as CSV."""
    rows = [
        {k: round(v, 6) if isinstance(v, float) else v for k, v in asdict(row).items()}
        for row in comparison.differences
    ]
    return csv_text(list(Difference.__dataclass_fields__), rows)
