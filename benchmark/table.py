"""A benchmark's dictionary as Markdown."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

from oarseg.benchmark.run import CPU, LOCALIZER_PASSES, NETWORKS, STAGE_1, STEPS

HEAD = (
    "row", "computed by", *STEPS, "whole", "CPU s", "times as quick", "in CPU s", "stage 1 times", "peak MiB", "GFLOP",
    "model MB", "Dice",
)  # fmt: skip
NOTE = """\
Seconds: median of {repeats} turn(s) (least), each a fresh process; whole: from its start to its end. Times as quick:
the reference's whole by this row's, median over the turns, and in brackets that of both networks' stages alone; then
the same of the processor seconds of the whole, which other work on the machine disturbs least; then the same of stage
1, and in brackets of the passes of its network. The reference is plain PyTorch, float32, eager, contiguous, with the
uncompressed weights. GFLOP: convolutions, a multiplication and an addition counted as two. Dice: mean over organs
against the reference's contours (lowest organ)."""
NNUNET = """\
nnU-Net's predictor, random weights, default 3d_fullres plan for this CT: patch {patch}, {stages} stages of
{features} features, {parameters:.1f} M parameters, {classes} classes, no mirroring, float32 (its own choice on a CPU).
**{how}** {seconds:.1f} s ({cpu:.1f} processor seconds) and {gflop:.0f} GFLOP for the CT, preprocessing and export not
counted; the reference's two stages take {reference:.1f} s in the same turns, so {ratio:.1f} times, its networks'
passes {reference_cpu:.1f} processor seconds, so {cpu_ratio:.1f} times. Peak {peak:.0f} MiB{of}."""
MEASURED = "Measured over the whole CT ({windows} windows)."
COMPUTED = "Not measured as a whole: {windows} windows (the predictor's own steps) x {one:.2f} s a window."


def markdown(result: Mapping[str, Any]) -> str:
    """The table, and nnU-Net below it where it was measured."""
    size = " x ".join(str(n) for n in result["ct"]["size_voxels"])
    spacing = " x ".join(f"{s:g}" for s in result["ct"]["spacing_mm"])
    lines = [f"{result['ct']['kind']} CT of {size} voxels of {spacing} mm; {result['machine']['processor']}", ""]
    lines += [f"| {' | '.join(HEAD)} |", "|" + "---|" * len(HEAD)]
    lines += [f"| {' | '.join(_cells(row))} |" for row in result["rows"]]
    lines += ["", NOTE.format(repeats=result["repeats"])]
    if "nnunet" in result:
        lines += ["", nnunet_text(result["nnunet"])]
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


def nnunet_text(found: Mapping[str, Any]) -> str:
    """What was measured of nnU-Net, and what was only computed from it."""
    how = MEASURED if found["measured"] == "whole" else COMPUTED
    text = NNUNET.format(
        patch=" x ".join(str(n) for n in found["patch"]),
        stages=len(found["features"]),
        features=f"{found['features'][0]} to {found['features'][-1]}",
        parameters=found["parameters"] / 1e6,
        classes=found["classes"],
        how=how.format(windows=found["windows"], one=found["seconds_a_window"]["median"]),
        seconds=found["seconds"],
        gflop=found["gflop"],
        cpu=found["cpu_seconds"],
        reference=found["reference_seconds"],
        reference_cpu=found["reference_cpu_seconds"],
        ratio=found["ratio"],
        cpu_ratio=found["cpu_ratio"],
        peak=found["peak_memory_mib"],
        of="" if found["measured"] == "whole" else " for one window",
    )
    return textwrap.fill(text, 118)
