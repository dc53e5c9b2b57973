"""The report of a chain of stage 1 beside the published figures, and other chains (controls) beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from oarseg.compression import figures
from oarseg.compression.report_text import (
    LAYERS,
    LEGEND,
    ORGANS,
    first,
    layers_table,
    mib,
    organs_table,
    size_of,
    table,
)
from oarseg.inference.engines.packed.layout import bits

PUBLISHED = Path(__file__).resolve().parent / "published.json"
SAVED_LEGEND = f"{LEGEND} c: size saved over size before. s: time saved over time before."
SOURCE = "Published: stage 1 of a {source}."
COSTS = (("flops", "GFLOP", 1e9), ("seconds", "seconds", 1), ("peak_gib", "peak GiB", 1))
THEIRS = "#999999"


def published() -> dict:
    """Return the published figures, which are of stage 1."""
    return json.loads(PUBLISHED.read_text(encoding="utf-8"))


def sections(content: Mapping, controls: Mapping[str, Mapping] | None = None) -> dict[str, str]:
    """Return the report of stage 1 beside the published figures: text by title.

    Published rows are there whatever the chain did. ``controls``: contents of other chains by title.
    """
    controls = controls or {}
    steps = {stage: _of(content, stage) for stage in ("channels", "remove", "threshold", "levels")}
    published = content["published"]
    found = {
        "Channel pruning": _channels(content, controls),
        "Structure": _removal(content) if steps["remove"] else "",
        "Networks of fewer channels": _networks(content, controls) if controls else "",
        "Threshold pruning": _thresholds(steps["threshold"], published["threshold"]),
        "Levels": _levels(steps["levels"], published["levels"]),
        LAYERS: layers_table(content["layers"]),
        ORGANS: organs_table(content["steps"]),
    }
    return {title: text for title, text in found.items() if text}


def _of(content: Mapping, stage: str) -> list[Mapping]:
    return [step for step in content["steps"] if step["stage"] == stage]


def _names(steps: Sequence[Mapping], key: str, published: Mapping) -> list[str]:
    """Values of a setting that were tried or published, rising."""
    return sorted({f"{step['settings'][key]:g}" for step in steps} | set(published), key=float)


def _channels(content: Mapping, controls: Mapping[str, Mapping]) -> str:
    published = content["published"]
    start, theirs = first(content), published["start"]
    rows = [["0", 0, start["dice"], theirs["dice"], mib(start["bytes"]), _published_mib(theirs)]]
    ours = {step["name"]: step["results"] for step in _of(content, "channels")}
    for name in _names(_of(content, "channels"), "ratio", published["channels"]):
        found, other = ours.get(name, {}), published["channels"].get(name, {})
        sizes = [size_of(found), _published_mib(other)]
        rows.append([name, found.get("steps"), found.get("dice"), other.get("dice"), *sizes])
    for title, chain in controls.items():
        # With what it began with, which need not be what this chain did.
        pruned = _of(chain, "channels")
        if pruned:
            rows.append([f"0, {title}", 0, first(chain)["dice"], None, mib(first(chain)["bytes"]), None])
        for step in pruned:
            found = step["results"]
            rows.append([f"{step['name']}, {title}", found["steps"], found["dice"], None, size_of(found), None])
    return table(["ratio", "retrained steps", "Dice", "published", "MiB", "published"], rows)


def _removal(content: Mapping) -> str:
    before, after = first(content), _of(content, "remove")[0]["results"]
    published, costs = content["published"], content["costs"]
    theirs, cut = published["start"], published["channels"]["0.2"]
    saved = f"c = {1 - after['bytes'] / before['bytes']:.3f}"
    rows = [
        ["parameters", before["parameters"], after["parameters"], saved, None, None],
        ["MiB", mib(before["bytes"]), mib(after["bytes"]), None, _published_mib(theirs), _published_mib(cut)],
        ["Dice", before["dice"], after["dice"], None, theirs["dice"], cut["dice"]],
    ]
    note = f"Largest difference that the removal made to a logit: {after['largest_difference']:.1e}."
    for key, title, unit in COSTS:
        a, b = (costs["networks"][name][key] if costs else None for name in ("start", "remove"))
        gain = f"{'s = ' if key == 'seconds' else ''}{1 - b / a:.3f}" if costs else None
        ours = [f"{a / unit:.2f}", f"{b / unit:.2f}", gain] if costs else [None] * 3
        rows.append([title, *ours, theirs.get(key), cut.get(key)])
    if costs:
        size = " x ".join(str(n) for n in costs["size"])
        note += f" Time and memory: one pass at {size} voxels on a CPU; published: all of stage 1, on GPUs."
    head = ["", "before", "after", "saved", "published before", "published after, ratio 0.2"]
    return table(head, rows) + "\n\n" + note


def _networks(content: Mapping, controls: Mapping[str, Mapping]) -> str:
    """The network before and after the removal beside the controls' (as cut, or as they began)."""
    named = {"whole": content["steps"][0]}
    if removed := _of(content, "remove"):
        named["channels removed"] = removed[0]
    named |= {title: (_of(chain, "remove") or chain["steps"])[0] for title, chain in controls.items()}
    found = {name: step["results"] for name, step in named.items()}
    rows = [[name, row["parameters"], mib(row["bytes"]), row["dice"]] for name, row in found.items()]
    return table(["network", "parameters", "MiB", "Dice"], rows)


def _thresholds(steps: Sequence[Mapping], published: Mapping) -> str:
    rows = []
    ours = {step["name"]: step["results"] for step in steps}
    for name in _names(steps, "threshold", published):
        found, other = ours.get(name, {}), published.get(name, {})
        shares = [found.get("sparsity"), other.get("sparsity")]
        rows.append([name, found.get("steps"), *shares, found.get("dice"), other.get("dice")])
    return table(["threshold", "retrained steps", "sparsity", "published", "Dice", "published"], rows)


def _levels(steps: Sequence[Mapping], published: Mapping) -> str:
    rows = []
    for scheme in dict.fromkeys(step["settings"]["scheme"] for step in steps) or ["printed"]:
        ours = {f"{s['settings']['levels']}": s["results"] for s in steps if s["settings"]["scheme"] == scheme}
        # The published tables are one scheme; other schemes stand beside the same published Dice.
        for name in sorted(set(ours) | (set(published) if scheme == "printed" else set()), key=int):
            found, other = ours.get(name, {}), published.get(name, {})
            size = [f"{bits(int(name)) / 32:.3f}", size_of(found), _published_mib(other)]
            rows.append([name, scheme, found.get("steps"), *size, found.get("dice"), other.get("dice")])
    head = ["levels", "scheme", "retrained steps", "bits / 32", "MiB", "published", "Dice", "published"]
    return table(head, rows)


def _published_mib(row: Mapping) -> str | None:
    return f"{row['mib']:.2f}" if "mib" in row else None


def dice(content: Mapping, controls: Mapping[str, Mapping]) -> Figure:
    """Draw the Dice of a chain, a panel for each stage. ``controls``: other chains by title. Grey: published values."""
    figure = figures.dice(content)
    for axes, (stage, key) in zip(figure.axes, figures.PANELS.items(), strict=True):
        for title, chain in controls.items():
            for points in figures.curves(chain, stage, key).values():
                axes.plot(*zip(*points, strict=True), marker="o", label=title)
        other = _published_dice(content["published"], stage)
        if other:
            axes.plot(sorted(other), [other[k] for k in sorted(other)], "s--", color=THEIRS, label="published")
        figures.finish_panel(axes, stage)
    return figure


def sizes(chains: Mapping[str, Mapping]) -> Figure:
    """Draw the Dice of every chain (content by name) against MiB: whole, cut, and packed at each number of levels."""
    figure = Figure(figsize=(9, 4.5), dpi=figures.DPI, layout="constrained")
    axes = figure.subplots()
    for name, content in chains.items():
        found = [step["results"] for step in content["steps"] if step["stage"] in ("start", "remove", "levels")]
        points = sorted((row.get("packed_bytes", row["bytes"]) / 2**20, row["dice"]) for row in found)
        axes.plot(*zip(*points, strict=True), marker="o", label=name)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("{x:g}")
    axes.set_xlabel("MiB: float32, or packed levels")
    axes.set_ylabel("Dice on the validation cases")
    axes.set_ylim(0, 1)
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right upper", fontsize=8)
    return figure


def _published_dice(published: Mapping, stage: str) -> dict[float, float]:
    found = {float(k): v["dice"] for k, v in published[stage].items() if "dice" in v}
    return found | ({0.0: published["start"]["dice"]} if stage == "channels" else {})
