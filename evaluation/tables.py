"""The summary and the failures as Markdown and CSV."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from oarseg.evaluation.scores import Status, csv_text
from oarseg.evaluation.summary import LEAST_CASES, MEASURES, MeanStat, OrganSummary, Stat, Summary, describe
from oarseg.sites import Site
from oarseg.text import markdown_table, printable

COUNTS = ("missed", "spurious", "absent", "swapped")
FIGURES = ("mean", "sd", "median", "low", "high", "left_out")
MEAN, COVERED = "mean over organs", f"mean over organs with {LEAST_CASES} cases or more"
PIXEL_MEASURES = {
    "pixel_accuracy": "pixel accuracy",
    "mean_pixel_accuracy": "mean pixel accuracy",
    "mean_iou": "mean IoU",
    "frequency_weighted_iou": "frequency-weighted IoU",
}
# What a person should look at first.
FAR_MM = 20.0
POOR_DICE = 0.5
LEGEND = """\
Mean ± standard deviation over cases; 95 % intervals of the mean by bootstrap over cases (10 000 resamples, fixed seed),
none below 4 cases. The mean over organs weighs every organ the same; it has no interval where fewer than 4 cases label
one of them, and the mean over the others then stands below it.

Only organs that a reference labels are scored. An organ that was **missed** has Dice and surface Dice 0 and no
distances; distances are averaged over the other cases, and "no distance" counts what they leave out. A **spurious**
organ was predicted although the reference, which labels it, has none: Dice and surface Dice 0, no distances. An organ
**absent** on both sides scores nothing. **Swapped**: the predicted organ lies on its mirror twin's reference. HD95: the
greater of the two directed 95th percentiles; mean surface distance: both surfaces pooled; surface Dice: share of the
surfaces' area within the tolerance. Volume error: predicted minus reference."""


def summary_markdown(summary: Summary, cases: Sequence[Mapping], tolerance_mm: float, site: Site) -> str:
    """Return the text of ``summary.md``. ``cases``: rows of ``cases.csv``."""
    names = {organ.key: organ.name for organ in site.organs}
    parts = [
        f"# Scores of {summary.cases} case(s)",
        _dice_table(summary, names),
        _distance_table(summary, tolerance_mm, names),
        _case_table(cases),
        LEGEND,
    ]
    return "\n\n".join(parts) + "\n"


def _dice_table(summary: Summary, names: Mapping[str, str]) -> str:
    heads = ("organ", "cases", "Dice", "median", "95 % interval", "lowest", *COUNTS)
    rows: list[tuple] = []
    for key, organ in summary.organs.items():
        stat, counts = organ.dice, (getattr(organ, name) for name in COUNTS)
        shown = spread(stat, 3), _value(stat, "median", 3), span(stat, 3), _value(stat, "lowest", 3)
        rows.append((names.get(key, key), organ.n, *shown, *counts))
    totals = tuple(sum(getattr(o, name) for o in summary.organs.values()) for name in COUNTS)
    for name, means in _means(summary).items():
        dice = means["dice"]
        rows.append((name, "", _value(dice, "mean", 3), "", span(dice, 3), "", *(totals if name == MEAN else ())))
    return markdown_table(heads, rows)


def _means(summary: Summary) -> dict[str, Mapping[str, MeanStat | None]]:
    """Return the means over organs, by their names in tables."""
    return {MEAN: summary.mean} | ({COVERED: summary.covered} if partly_covered(summary) else {})


def partly_covered(summary: Summary) -> bool:
    """Return whether some organs, but not all, have enough cases for an interval."""
    mean, covered = summary.mean["dice"], summary.covered["dice"]
    return bool(mean and covered and covered.organs < mean.organs)


def _distance_table(summary: Summary, tolerance_mm: float, names: Mapping[str, str]) -> str:
    heads = (
        "organ", f"surface Dice at {tolerance_mm:g} mm", "HD95 mm", "mean surface distance mm", "centroid distance mm",
        "no distance", "volume error cm3", "volume error %",
    )  # fmt: skip
    rows: list[tuple] = []
    shown = {"surface_dice": 3, "hd95_mm": 1, "msd_mm": 2, "centroid_mm": 1}
    for key, organ in summary.organs.items():
        stats = (spread(organ.stats[measure], digits) for measure, digits in shown.items())
        volume = spread(organ.stats["volume_error_cm3"], 2), spread(organ.stats["volume_error_percent"], 1)
        rows.append((names.get(key, key), *stats, _without_distance(organ), *volume))
    total = sum(_without_distance(organ) for organ in summary.organs.values())
    for name, means in _means(summary).items():
        stats = (_value(means[measure], "mean", digits) for measure, digits in shown.items())
        rows.append((name, *stats, *([total] if name == MEAN else ())))
    return markdown_table(heads, rows)


def _without_distance(organ: OrganSummary) -> int:
    return organ.missed + organ.spurious


def _case_table(cases: Sequence[Mapping]) -> str:
    stats = {title: describe([row[measure] for row in cases]) for measure, title in PIXEL_MEASURES.items()}
    heads = ("over all voxels of a case (background and labelled organs)", "mean", "95 % interval")
    return markdown_table(heads, [(title, spread(stat, 4), span(stat, 4)) for title, stat in stats.items()])


def spread(stat: Stat | None, digits: int) -> str:
    """Return the mean and, of more than one case, standard deviation as text; ``-`` without any."""
    if stat is None:
        return "-"
    return f"{stat.mean:.{digits}f}" + (f" ± {stat.sd:.{digits}f}" if stat.sd is not None else "")


def span(stat: Stat | MeanStat | None, digits: int) -> str:
    """Return the interval of the mean as text, or ``-``."""
    return f"{stat.low:.{digits}f} to {stat.high:.{digits}f}" if stat and stat.low is not None else "-"


def _value(stat: Stat | MeanStat | None, name: str, digits: int) -> str:
    return f"{getattr(stat, name):.{digits}f}" if stat else "-"


def summary_csv(summary: Summary) -> str:
    """Return ``summary.csv``: one row an organ and one for the mean over organs; every measure with ``FIGURES``."""
    fields = ["organ", "n", *COUNTS, *(f"{measure}_{figure}" for measure in MEASURES for figure in FIGURES)]
    rows: list[dict] = []
    for key, organ in summary.organs.items():
        row = {"organ": key, "n": organ.n} | {name: getattr(organ, name) for name in COUNTS}
        rows.append(row | _figures(organ.stats))
    rows.append({"organ": "mean", "n": summary.cases} | _figures(summary.mean))
    if partly_covered(summary):
        rows.append({"organ": f"mean of {LEAST_CASES} cases or more", "n": summary.cases} | _figures(summary.covered))
    return csv_text(fields, rows)


def _figures(stats: Mapping[str, Stat | MeanStat | None]) -> dict:
    figures = {}
    for measure, stat in stats.items():
        for name in FIGURES:
            value = getattr(stat, name, None)
            figures[f"{measure}_{name}"] = round(value, 5) if isinstance(value, float) else value
    return figures


def failures(rows: Sequence[Mapping]) -> list[tuple[str, str, str]]:
    """Return case, organ and what is wrong, of every row that a person should look at, in the rows' order."""
    found = []
    for row in rows:
        wrong = []
        if row["status"] in (Status.MISSED, Status.SPURIOUS):
            wrong.append(str(row["status"]))
        if row["swapped"]:
            wrong.append("left and right exchanged")
        if row["centroid_mm"] is not None and row["centroid_mm"] > FAR_MM:
            wrong.append(f"{row['centroid_mm']:.0f} mm off")
        if row["status"] == Status.OK and row["dice"] < POOR_DICE:
            wrong.append(f"Dice {row['dice']:.3f}")
        if wrong:
            found.append((row["case"], row["organ"], ", ".join(wrong)))
    return found


def failures_markdown(rows: Sequence[Mapping], notes: Sequence[str], site: Site) -> str:
    """Return the text of ``failures.md``: the failures by case, then notes on the files."""
    names = {organ.key: organ.name for organ in site.organs}
    lines = [
        "# Failures",
        "",
        f"Organs that were missed, are spurious or exchanged, lie more than {FAR_MM:g} mm off (centroids), or have a "
        f"Dice below {POOR_DICE:g}.",
        "",
    ]
    found = failures(rows)
    for case in dict.fromkeys(case for case, _, _ in found):
        lines += [f"## {printable(case)}", ""]
        lines += [f"- {names.get(organ, organ)}: {what}" for c, organ, what in found if c == case]
        lines.append("")
    if not found:
        lines += ["None.", ""]
    if notes:
        lines += ["## Notes on the files", "", *(f"- {printable(note)}" for note in notes), ""]
    return "\n".join(lines)
