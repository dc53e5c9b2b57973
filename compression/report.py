"""The report of a chain: JSON, Markdown and figures from the steps that are done."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from torch import Tensor

from oarseg.compression.figures import EDGES, write_figures
from oarseg.compression.report_text import markdown
from oarseg.compression.stages import STAGES, START
from oarseg.compression.steps import FACTS, WEIGHTS, read
from oarseg.errors import ConfigError
from oarseg.files import write_json, write_text
from oarseg.training.weights import read_state

JSON, MARKDOWN = "report.json", "report.md"


def write_report(root: Path) -> Path:
    """Write ``report.json``, ``report.md`` and the figures into a chain's folder; return the Markdown's path.

    Raises ConfigError if no step is done.
    """
    steps = finished(root)
    if not steps:
        raise ConfigError(f"{root} holds no finished step of a compression chain; run it first")
    content = {"steps": steps, "layers": layers(root, steps), "histograms": histograms(root, steps)}
    write_json(root / JSON, content)
    figures = write_figures(root, content)
    write_text(root / MARKDOWN, markdown(content, figures))
    return root / MARKDOWN


def finished(root: Path) -> list[dict]:
    """Return the steps that are done, in the chain's order: ``stage``, ``name``, ``settings``, ``results``."""
    found = []
    for stage in (START.stage, *STAGES):
        rows = []
        for path in (root / stage).glob(f"*/{FACTS}"):
            facts = read(path)
            if "results" in facts:
                rows.append({"stage": stage, "name": path.parent.name, **facts})
        found += sorted(rows, key=_order)
    return found


def layers(root: Path, steps: list[dict]) -> list[dict]:
    """Return the parameters of every layer at the start and (nonzero) after the last done stage before the levels."""
    begin = _parameters(root, START.stage, START.name)
    kept = {step["settings"]["begins_with"] for step in steps if step["stage"] == "levels"}
    stages = {step["stage"]: step for step in steps if step["stage"] in ("remove", "threshold")}
    for step in steps:
        # Of several thresholds, the one that the levels begin with.
        if step["stage"] == "threshold" and step["results"]["weights_sha256"] in kept:
            stages["threshold"] = step
    rows = [{"layer": name, "start": total} for name, (total, _) in begin.items()]
    for stage, step in stages.items():
        found = _parameters(root, stage, step["name"])
        for row in rows:
            row[stage] = found[row["layer"]][stage == "threshold"]
    return rows


def histograms(root: Path, steps: list[dict]) -> dict[str, list[int]]:
    """Return how many kernel weights lie between each two of ``EDGES`` after the last step of each stage, by step.

    Weights beyond are counted at the ends.
    """
    found = {}
    for step in {step["stage"]: step for step in steps}.values():
        state = read_state(root / step["stage"] / step["name"] / WEIGHTS)
        values = np.concatenate([value.float().numpy().ravel() for value in state.values() if value.ndim == 5])
        counts = np.histogram(np.clip(values, EDGES[0], EDGES[-1]), EDGES)[0]
        found[f"{step['stage']} {step['name']}"] = counts.tolist()
    return found


def _order(step: dict) -> tuple:
    settings = step["settings"]
    return (str(settings.get("scheme", "")), *(settings.get(key, 0) for key in ("ratio", "threshold", "levels")))


def _parameters(root: Path, stage: str, name: str) -> dict[str, tuple[int, int]]:
    """Return how many values are trained, and how many of them are not zero, by layer."""
    state: Mapping[str, Tensor] = read_state(root / stage / name / WEIGHTS)
    found: dict[str, tuple[int, int]] = {}
    for key, value in state.items():
        layer, _, kind = key.rpartition(".")
        if kind in ("weight", "bias"):
            total, some = found.get(layer, (0, 0))
            found[layer] = (total + value.numel(), some + int((value != 0).sum()))
    return found
