"""The stored validation results, and what is said of them in cards and README.

``results/stage1.csv`` and ``results/two_stage.csv`` (see :mod:`oarseg.evaluation.scores`) are written by
:mod:`experiments.scores.run` and by nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from oarseg.evaluation.scores import read_scores
from oarseg.evaluation.summary import LEAST_CASES, MeanStat, OrganSummary, Stat, mean_over_organs, summarize
from oarseg.evaluation.tables import COVERED
from oarseg.sites import Site, load_site

RESULTS = Path(__file__).resolve().parents[1] / "results"
METHODS = ("stage1", "two_stage")
HEADER = """\
| organ | cases | stage 1 Dice | two stages Dice | 95 % interval | HD95 mm | surface Dice | lowest | missed |
|---|---|---|---|---|---|---|---|---|"""
NOTE = """\
Mean ± standard deviation over the cases. Intervals: of the mean, bootstrap over cases (10 000 resamples), none below 4
cases, nor for a mean over organs of which one has fewer. HD95 and surface Dice (tolerance {tolerance:g} mm) are those
of both stages; an organ that was missed has Dice and surface Dice 0 and no HD95. Voxels of these CTs are 2 to 5.4 mm
wide, so both are coarse: not to be compared with figures from finer ones."""


@dataclass(frozen=True)
class Summary:
    """Dice of one organ over ``n`` cases: mean, standard deviation (0 for one case), lowest, interval of the mean.

    ``hd95``, ``surface_dice``: their figures, None where no case has them. ``missed``: cases that lack the organ.
    """

    n: int
    mean: float
    sd: float
    lowest: float
    low: float | None
    high: float | None
    missed: int
    hd95: Stat | None
    surface_dice: Stat | None

    @property
    def text(self) -> str:
        """Mean and, of more than one case, standard deviation."""
        return f"{self.mean:.3f} ± {self.sd:.3f}" if self.n > 1 else f"{self.mean:.3f}"


def stored_rows(method: str, folder: Path = RESULTS) -> list[dict]:
    """Rows of ``<method>.csv``; none where it is not stored. Raises ConfigError where it is malformed."""
    path = folder / f"{method}.csv"
    return read_scores(path) if path.is_file() else []


def validation_summary(method: str, folder: Path = RESULTS) -> dict[str, Summary]:
    """By organ key, for "stage1" or "two_stage"; empty where there are no results."""
    path = folder / f"{method}.csv"
    return dict(_summarized(path, path.stat().st_mtime_ns)) if path.is_file() else {}


@lru_cache(maxsize=8)
def _summarized(path: Path, changed_ns: int) -> dict[str, Summary]:
    """Kept until the file changes: rendering the bundles asks for the same figures for every card."""
    organs = summarize(read_scores(path), load_site()).organs
    return {key: _summary(organ) for key, organ in organs.items() if organ.dice}


def _summary(organ: OrganSummary) -> Summary:
    dice, stats = organ.dice, organ.stats
    return Summary(
        n=organ.n,
        mean=dice.mean,
        sd=dice.sd or 0.0,
        lowest=dice.lowest,
        low=dice.low,
        high=dice.high,
        missed=organ.missed,
        hd95=stats["hd95_mm"],
        surface_dice=stats["surface_dice"],
    )


def results_table(site: Site, folder: Path = RESULTS) -> str:
    """Markdown: one row an organ, stage 1 beside both stages; a note where there are no results yet."""
    one, two = (validation_summary(method, folder) for method in METHODS)
    rows = stored_rows("two_stage", folder)
    if not two:
        return "No validation results are stored yet."
    lines = [HEADER]
    for organ in site.organs:
        if organ.key in two:
            a, b = one.get(organ.key), two[organ.key]
            lines.append(
                f"| {organ.name} | {b.n} | {a.text if a else '-'} | {b.text} | {span(b)} "
                f"| {_short(b.hd95, 1)} | {_short(b.surface_dice, 3)} | {b.lowest:.3f} | {b.missed} |"
            )
    lines.append(_mean_line("mean over organs", stored_rows("stage1", folder), rows, 1))
    counts = [stat.n for stat in two.values()]
    if min(counts) < LEAST_CASES <= max(counts):
        lines.append(_mean_line(COVERED, stored_rows("stage1", folder), rows, LEAST_CASES))
    return "\n".join([*lines, "", NOTE.format(tolerance=rows[0]["tolerance_mm"])])


def _mean_line(name: str, one: list[dict], two: list[dict], least: int) -> str:
    """The line of a mean over the organs that ``least`` cases or more label."""
    first, both = (mean_over_organs(rows, "dice", least) for rows in (one, two))
    hd95, near = (mean_over_organs(two, measure, least) for measure in ("hd95_mm", "surface_dice"))
    return (
        f"| {name} | | {_short(first, 3)} | {_short(both, 3)} | {span(both)} "
        f"| {_short(hd95, 1)} | {_short(near, 3)} | | |"
    )


def span(stat: Summary | MeanStat | None) -> str:
    """Interval as ``0.691 to 0.812``, or ``-``."""
    return f"{stat.low:.3f} to {stat.high:.3f}" if stat and stat.low is not None else "-"


def _short(stat: Stat | MeanStat | None, decimals: int) -> str:
    return f"{stat.mean:.{decimals}f}" if stat else "-"
