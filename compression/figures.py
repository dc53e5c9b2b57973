"""Figures of chains, from the content of their reports: Dice against ratio, threshold, levels and size; the weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from oarseg.files import whole_file

DICE, WEIGHTS_PICTURE = "dice.png", "weights.png"
DPI = 110
OURS = "#1f5fa8"
PANELS = {"channels": "ratio", "threshold": "threshold", "levels": "levels"}
# Of the histograms: the range that the published levels divide, and finer than their finest step.
EDGES = np.linspace(-0.5, 0.5, 201)


def write_figures(root: Path, content: Mapping) -> list[str]:
    """Draw the figures of ``report.json``'s content into ``root``; return their names. Raises OutputError."""
    drawn = []
    if any(step["stage"] in PANELS for step in content["steps"]):
        save(dice(content), root / DICE)
        drawn.append(DICE)
    save(weights(content), root / WEIGHTS_PICTURE)
    return [*drawn, WEIGHTS_PICTURE]


def dice(content: Mapping) -> Figure:
    """Draw the Dice of a chain, a panel for each stage of ``PANELS``."""
    figure = Figure(figsize=(11, 3.6), dpi=DPI, layout="constrained")
    for axes, (stage, key) in zip(figure.subplots(1, len(PANELS), sharey=True), PANELS.items(), strict=True):
        for name, points in curves(content, stage, key).items():
            axes.plot(*zip(*points, strict=True), marker="o", label=name)
        axes.set_xlabel({"channels": "ratio of channels"}.get(stage, stage))
        axes.grid(alpha=0.3)
        finish_panel(axes, stage)
    figure.axes[0].set_ylabel("Dice on the validation cases")
    figure.axes[0].set_ylim(0, 1)
    return figure


def weights(content: Mapping) -> Figure:
    """Draw histograms of all kernels' weights at the start and after the last step of each stage."""
    found = content["histograms"]
    figure = Figure(figsize=(3.2 * len(found), 3), dpi=DPI, layout="constrained")
    for axes, (name, counts) in zip(figure.subplots(1, len(found), sharey=True, squeeze=False)[0], found.items(),
                                    strict=True):  # fmt: skip
        axes.stairs(counts, EDGES, fill=True, color=OURS)
        axes.set_yscale("log")
        axes.set_title(name.replace("_", " "), fontsize=9)
        axes.set_xlabel("weight")
    figure.axes[0].set_ylabel("number of weights")
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a PNG, whole or not at all. Raises OutputError."""
    with whole_file(path) as temporary:
        FigureCanvasAgg(figure).print_png(str(temporary))


def curves(content: Mapping, stage: str, key: str) -> dict[str, list[tuple[float, float]]]:
    """Return the points of each curve of a panel: one, or one for each scheme of levels. A ratio of 0 is the start."""
    found: dict[str, list[tuple[float, float]]] = {}
    for step in content["steps"]:
        if step["stage"] == stage:
            begin = [(0.0, content["steps"][0]["results"]["dice"])] if stage == "channels" else []
            points = found.setdefault(step["settings"].get("scheme", "ours"), begin)
            points.append((step["settings"][key], step["results"]["dice"]))
    return found


def finish_panel(axes: Axes, stage: str) -> None:
    """Give a panel its legend and, for levels, an axis of the numbers that were drawn."""
    if stage == "levels":
        ticks = sorted({int(x) for line in axes.lines for x in line.get_xdata()})
        axes.set_xscale("log", base=2)
        axes.set_xticks(ticks, [str(n) for n in ticks])
        axes.minorticks_off()
    if axes.lines:
        axes.legend(fontsize=8)
