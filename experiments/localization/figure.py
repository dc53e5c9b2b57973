"""``docs/localization.png``: stage 2 in shifted boxes beside the room that stage 1's boxes leave."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from experiments.localization.store import LEAST_SHARE, BoxRow, ShiftRow, by_organ
from experiments.localization.summary import curve, room
from oarseg.bundles import FOLDER
from oarseg.bundles.spec import bundle_specs
from oarseg.errors import ConfigError
from oarseg.files import whole_file
from oarseg.sites import Organ, Site

SIZE_INCHES, DPI = (15.0, 7.6), 100
# Panels side by side.
ACROSS = 4
BACKGROUND, TEXT, MUTED = "#101418", "#e8ecf0", "#8d98a3"
# mm; boxes with more room or lack than this are drawn at the edge.
ROOM_LIMITS = (-10.0, 40.0)
STYLES = {"reference": ("-", "shifted from the reference's box"), "stage1": ("--", "shifted from stage 1's box")}


def write_figure(path: Path, boxes: Sequence[BoxRow], shifts: Sequence[ShiftRow], site: Site) -> None:
    """Draw ``path`` (PNG), under a temporary name until whole. Raises OutputError where it cannot be written."""
    figure = Figure(figsize=SIZE_INCHES, dpi=DPI, facecolor=BACKGROUND)
    canvas = FigureCanvasAgg(figure)
    organs, jitter = by_organ(shifts, site), training_jitter(site)
    lines = -(-len(organs) // ACROSS)
    grid = figure.add_gridspec(lines, ACROSS, left=0.055, right=0.655, top=0.82, bottom=0.085, wspace=0.12, hspace=0.3)
    first = None
    for index, (organ, rows) in enumerate(organs):
        # One scale for all: only then do the organs' losses compare.
        axes = figure.add_subplot(grid[index // ACROSS, index % ACROSS], sharex=first, sharey=first)
        first = first or axes
        _draw_curves(axes, organ, rows, jitter[organ.key])
        axes.tick_params(labelleft=index % ACROSS == 0, labelbottom=index + ACROSS >= len(organs))
    figure.text(0.355, 0.02, "shift of the box, mm (mean of six directions)", color=TEXT, ha="center", fontsize=10)
    figure.text(0.012, 0.46, "change of Dice", color=TEXT, va="center", rotation=90, fontsize=10)
    title = "Stage 2 in misplaced boxes: change of Dice against the unshifted box of the reference, 95% intervals"
    figure.text(0.055, 0.955, title, color=TEXT, fontsize=11)
    _legend(figure)
    _draw_room(figure.add_axes((0.755, 0.085, 0.23, 0.775)), boxes, site)
    with whole_file(path) as temporary:
        canvas.print_png(str(temporary))


def training_jitter(site: Site) -> dict[str, float]:
    """By how many mm training moves the faces of each organ's box, from its bundle. Raises ConfigError without it."""
    found = {}
    for spec in bundle_specs(site):
        if spec.organ:
            config = FOLDER / spec.name / "configs" / "train.json"
            try:
                found[spec.organ.key] = float(json.loads(config.read_text(encoding="utf-8"))["jitter_mm"])
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise ConfigError(f"{spec.name}/configs/train.json has no jitter_mm; run bundles sync") from error
    return found


def _draw_curves(axes: Axes, organ: Organ, rows: Sequence[ShiftRow], jitter: float) -> None:
    _style(axes)
    axes.axvline(jitter, color=MUTED, linestyle=":", linewidth=1.2)
    axes.axhline(0, color=MUTED, linewidth=0.6)
    color = _rgb(organ)
    for start, (style, _) in STYLES.items():
        line = curve(rows, start)
        if line:
            axes.plot(line.shifts_mm, line.change, style, color=color, linewidth=1.8)
            bounds = [i or (c, c) for i, c in zip(line.interval, line.change, strict=True)]
            alpha = 0.25 if start == "reference" else 0.12
            axes.fill_between(line.shifts_mm, *zip(*bounds, strict=True), color=color, alpha=alpha, linewidth=0)
    line = curve(rows, "reference") or curve(rows, "stage1")
    note = f"Dice {line.dice:.2f}, n = {line.cases}" if line else "no result"
    axes.set_title(f"{organ.name}\n{note}", color=TEXT, fontsize=9.5)


def _legend(figure: Figure) -> None:
    lines = [Line2D([], [], color=TEXT, linestyle=style) for style, _ in STYLES.values()]
    lines.append(Line2D([], [], color=MUTED, linestyle=":"))
    labels = [*(label for _, label in STYLES.values()), "most that training moves a face (jitter_mm)"]
    figure.legend(lines, labels, loc="upper left", bbox_to_anchor=(0.045, 0.945), ncols=3, frameon=False,
                  labelcolor=TEXT, fontsize=9)  # fmt: skip


def _draw_room(axes: Axes, rows: Sequence[BoxRow], site: Site) -> None:
    """A point for each box: by how many mm its tightest face could be nearer and the box still hold the organ."""
    _style(axes)
    axes.axvline(0, color=TEXT, linewidth=1)
    organs = by_organ(rows, site)
    for place, (organ, group) in enumerate(organs):
        for section, offset, alpha, size in (("training", 0.17, 0.35, 9), ("validation", -0.17, 1.0, 22)):
            found = [row for row in group if row.section == section and row.found]
            values = np.clip([min(room(row, organ)) for row in found], *ROOM_LIMITS)
            # Points of equal room beside each other, the same at every drawing.
            spread = np.random.RandomState(place).uniform(-0.11, 0.11, len(found))
            axes.scatter(values, place + offset + spread, s=size, color=_rgb(organ), alpha=alpha, linewidths=0)
        lost = sum(not row.found for row in group)
        if lost:
            axes.text(ROOM_LIMITS[0] + 0.5, place, f"{lost} not found", color=TEXT, fontsize=8, va="center")
    axes.set_yticks(range(len(organs)), [organ.name for organ, _ in organs])
    axes.set_ylim(len(organs) - 0.5, -0.5)
    axes.set_xlim(ROOM_LIMITS[0] - 1, ROOM_LIMITS[1] + 1)
    axes.set_xlabel("room to spare at the tightest face, mm", color=TEXT, fontsize=10)
    axes.set_title(
        f"Room in stage 1's boxes around {LEAST_SHARE:.1%} of the reference\n"
        "large points: validation; small: training\n(silver too); below 0: cut off",
        color=TEXT, fontsize=9.5,
    )  # fmt: skip


def _style(axes: Axes) -> None:
    axes.set_facecolor(BACKGROUND)
    axes.tick_params(colors=MUTED, labelsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(MUTED)


def _rgb(organ: Organ) -> tuple[float, float, float]:
    red, green, blue = (c / 255 for c in organ.color)
    return red, green, blue
