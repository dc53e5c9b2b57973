"""Box plots of the scores by organ, each case a point."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from oarseg.inference.report.preview import rgb
from oarseg.sites import Organ, Site

PANELS = (("dice", "Dice"), ("surface_dice", "surface Dice at {tolerance:g} mm"), ("hd95_mm", "HD95, mm"))
SIZE_INCHES, DPI = (10.0, 10.5), 110
# Points stand beside each other, not on each other; the same ones at every call.
JITTER = 0.16
SEED = 7


def write_box_plots(path: str | Path, rows: Sequence[Mapping], site: Site) -> None:
    """Draw ``path`` (PNG): Dice, surface Dice and HD95 of score rows, in the table's order and colours.

    Boxes from quartile to quartile with the median, whiskers to 1.5 times their distance, every case a point; missed
    and spurious organs are crosses at 0, and have no HD95. Raises OSError where the file cannot be written.
    """
    organs = [o for o in site.organs if any(r["organ"] == o.key and r["dice"] is not None for r in rows)]
    tolerance = rows[0]["tolerance_mm"] if rows else 0
    figure = Figure(figsize=SIZE_INCHES, dpi=DPI, layout="constrained")
    panels = figure.subplots(len(PANELS), 1, squeeze=False)[:, 0]
    for axes, (measure, title) in zip(panels, PANELS, strict=True):
        axes.set_ylabel(title.format(tolerance=tolerance))
        axes.grid(axis="y", alpha=0.3)
        axes.set_axisbelow(True)
        for place, organ in enumerate(organs):
            _draw(axes, place, organ, [r for r in rows if r["organ"] == organ.key and r[measure] is not None], measure)
        if measure != "hd95_mm":
            axes.set_ylim(-0.03, 1.03)
        else:
            axes.set_ylim(bottom=0)
        axes.set_xlim(-0.6, max(len(organs), 1) - 0.4)
        axes.set_xticks(range(len(organs)), [_tick(o, rows, measure) for o in organs], fontsize=9)
    FigureCanvasAgg(figure).print_png(str(path))


def _tick(organ: Organ, rows: Sequence[Mapping], measure: str) -> str:
    count = sum(r["organ"] == organ.key and r[measure] is not None for r in rows)
    return f"{organ.name}\nn = {count}"


def _draw(axes: object, place: int, organ: Organ, rows: list[Mapping], measure: str) -> None:
    if not rows:
        return
    values, color = np.array([row[measure] for row in rows]), rgb(organ)
    axes.boxplot(
        values,
        positions=[place],
        widths=0.55,
        showfliers=False,
        patch_artist=True,
        boxprops={"facecolor": (*color, 0.35), "edgecolor": "#333"},
        medianprops={"color": "#111", "linewidth": 1.8},
    )
    shift = np.random.default_rng(SEED).uniform(-JITTER, JITTER, len(values))
    found = np.array([row["status"] == "ok" for row in rows])
    shared = {"color": color, "zorder": 3, "linewidths": 0.6}
    axes.scatter(place + shift[found], values[found], s=22, edgecolors="#222", **shared)
    axes.scatter(place + shift[~found], values[~found], s=45, marker="x", **(shared | {"linewidths": 2}))
