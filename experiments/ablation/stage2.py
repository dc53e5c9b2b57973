"""What stage 2 costs as eight networks and as one that shares its features, as ``docs/results.md`` tells it."""

from __future__ import annotations

import json
from pathlib import Path

from oarseg.errors import ConfigError

TEXT = """\
### What stage 2 costs

One pass of each of the {organs} organs at its own grid, {threads} thread(s), median of {repeats} turns in which the two
alternate. The ratio is the median of the ratios within a turn. Seconds are processor time. The file holds stage 2
alone, in half precision. Command: `python -m experiments.ablation.run measure`.
"""


def stage2_section(results: Path) -> str:
    """The section of the report; empty where nothing is measured. Raises ConfigError where the file is malformed."""
    path = results / "measured.json"
    if not path.is_file():
        return ""
    try:
        stage2 = json.loads(path.read_text(encoding="utf-8")).get("stage2")
        if stage2 is None:
            return ""
        lines = ["| stage 2 | parameters | file, MB | TFLOP | core seconds | ratio |", "|" + "---|" * 6]
        for name, one in stage2["kinds"].items():
            size = f"{one['parameters'] / 1e6:.2f} M | {one['megabytes']:.1f}"
            lines.append(f"| {name} | {size} | {one['tflop']:.3f} | {one['core_seconds']:.2f} | {one['ratio']:.2f} |")
        shown = {key: stage2[key] for key in ("organs", "threads", "repeats")}
        return "\n".join([TEXT.format(**shown), *lines, ""])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path.name} is malformed: {error!r}; measure again") from error
