"""A benchmark's dictionary as Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from oarseg.benchmark.run import CPU, LOCALIZER_PASSES, NETWORKS, STAGE_1, STEPS

HEAD = (
    "row", "computed by", *STEPS, "whole", "CPU s", "times as quick", "in CPU s", "stage 1 times", "peak MiB", "GFLOP",
    "model MB", "Dice",
)  # fmt: skip
NOTE = """\
Seconds: median of {repeats} turn(s) (least), each a fresh process; whole: from its start to its end. Times as quick:
the reference's whole by this row's, median over the turns; in brackets, both stages alone. In CPU s: the same for the
processor seconds of the whole, which other work on the machine disturbs least. Stage 1 times: the same for stage 1; in
brackets, for the passes of its network. The reference is plain PyTorch, float32, eager, contiguous, with the
uncompressed weights. GFLOP: convolutions, a multiplication and an addition counted as two. Dice: mean over organs
against the reference's contours (lowest organ)."""


def markdown(result: Mapping[str, Any]) -> str:
    """Return the table with the CT above it and its legend below."""
    size = " x ".join(str(n) for n in result["ct"]["size_voxels"])
    spacing = " x ".join(f"{s:g}" for s in result["ct"]["spacing_mm"])
    lines = [f"{result['ct']['kind']} CT of {size} voxels of {spacing} mm; {result['machine']['processor']}", ""]
    lines += [f"| {' | '.join(HEAD)} |", "|" + "---|" * len(HEAD)]
    lines += [f"| {' | '.join(_cells(row))} |" for row in result["rows"]]
    lines += ["", NOTE.format(repeats=result["repeats"])]
    return "\n".join(lines) + "\n"


def _cells(row: Mapping[str, Any]) -> list[str]:
    seconds = [f"{one['median']:.2f} ({one['min']:.2f})" for one in (row["seconds"][s] for s in (*STEPS, "whole"))]
    dice = row["dice"]
    return [
        row["name"],
        row["computed"] + (", compressed" if row["compressed"] else ""),
        *seconds,
        f"{row['seconds'][CPU]['median']:.1f} ({row['seconds'][CPU]['min']:.1f})",
        f"{row['ratio']['whole']['median']:.2f} ({row['ratio'][NETWORKS]['median']:.2f})",
        f"{row['ratio'][CPU]['median']:.2f}",
        f"{row['ratio'][STAGE_1]['median']:.1f} ({row['ratio'][LOCALIZER_PASSES]['median']:.1f})",
        f"{row['peak_memory_mib']:.0f}",
        f"{row['gflop']:.1f}",
        f"{row['model_bytes'] / 1e6:.2f}",
        "-" if dice["mean"] is None else f"{dice['mean']:.4f} ({dice['lowest']:.4f})",
    ]
