"""The stored validation results, and what is said of them in cards and README.

``results/head_neck_validation.csv`` is written by :mod:`oarseg.evaluation.score` and by nothing else.
"""

from __future__ import annotations

import csv
import statistics
from dataclasses import dataclass
from pathlib import Path

from oarseg.sites import Site

RESULTS = Path(__file__).resolve().parent / "results" / "head_neck_validation.csv"
METHODS = ("stage1", "two_stage")


@dataclass(frozen=True)
class Summary:
    """Dice of one organ over ``n`` cases: mean, standard deviation, lowest; ``missed``: cases that lack it."""

    n: int
    mean: float
    sd: float
    lowest: float
    missed: int


def validation_summary(method: str, path: Path = RESULTS) -> dict[str, Summary]:
    """By organ key, for "stage1" or "two_stage"; empty where there are no results."""
    if not path.is_file():
        return {}
    with open(path, newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["method"] == method]
    by_organ: dict[str, list[tuple[float, bool]]] = {}
    for row in rows:
        by_organ.setdefault(row["organ"], []).append((float(row["dice"]), row["found"] == "False"))
    return {organ: _summary(scores) for organ, scores in by_organ.items()}


def _summary(scores: list[tuple[float, bool]]) -> Summary:
    dice = [d for d, _ in scores]
    spread = statistics.stdev(dice) if len(dice) > 1 else 0.0
    return Summary(len(dice), statistics.fmean(dice), spread, min(dice), sum(missed for _, missed in scores))


def results_table(site: Site, path: Path = RESULTS) -> str:
    """Markdown: one row an organ, stage 1 beside both stages; a note where there are no results yet."""
    one, two = (validation_summary(method, path) for method in METHODS)
    if not two:
        return "No validation results are stored yet."
    lines = [
        "| organ | cases | stage 1 Dice | two stages Dice | lowest | missed |",
        "|---|---|---|---|---|---|",
    ]
    for organ in site.organs:
        if organ.key in two:
            a, b = one[organ.key], two[organ.key]
            lines.append(
                f"| {organ.name} | {b.n} | {a.mean:.3f} ± {a.sd:.3f} | {b.mean:.3f} ± {b.sd:.3f} "
                f"| {b.lowest:.3f} | {b.missed} |"
            )
    mean = [statistics.fmean(s.mean for s in summary.values()) for summary in (one, two)]
    lines.append(f"| mean over organs | | {mean[0]:.3f} | {mean[1]:.3f} | | |")
    return "\n".join(lines)
