"""nnU-Net's predictor on a CT, in turns with oarseg's reference: one window of it, or the whole.

    python -m experiments.peers.nnunet [--ct PATH] [--python PYTHON] [--repeats 3] [--threads 2] [-o FILE]
    python -m experiments.peers.nnunet --whole             all windows; takes long

``PYTHON``: one that has nnunetv2 (pip install nnunetv2); this one by default. Without ``--ct``, the synthetic CT of
``oarseg benchmark``. Without ``--whole``, the seconds of one window are multiplied by the number of windows.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from oarseg.benchmark.process import Ended, RunError, run_process
from oarseg.benchmark.run import NETWORKS, PASSES_CPU, REFERENCE, Setup, Turn, in_turns, spread
from oarseg.errors import ConfigError, OarsegError
from oarseg.files import write_json
from oarseg.images.read import read_image
from oarseg.inference.bundle import read_bundle

SCRIPT = Path(__file__).resolve().parent / "nnunet_child.py"
INSTALL = "pip install nnunetv2"
NAME = "nnU-Net"
NNUNET = """\
nnU-Net's predictor, random weights, default 3d_fullres plan for this CT: patch {patch}, {stages} stages of
{features} features, {parameters:.1f} M parameters, {classes} classes, no mirroring, float32 (its own choice on a CPU).
**{how}** {seconds:.1f} s ({cpu:.1f} processor seconds) and {gflop:.0f} GFLOP for the CT, preprocessing and export not
counted; the reference's two stages take {reference:.1f} s in the same turns, so {ratio:.1f} times, its networks'
passes {reference_cpu:.1f} processor seconds, so {cpu_ratio:.1f} times. Peak {peak:.0f} MiB{of}."""
MEASURED = "Measured over the whole CT ({windows} windows)."
COMPUTED = "Not measured as a whole: {windows} windows (the predictor's own steps) x {one:.2f} s a window."


@dataclass(frozen=True)
class Rival:
    """What to measure it with. ``python``: one that has nnunetv2. ``whole``: all windows, not one."""

    python: str = sys.executable
    whole: bool = False
    threads: int | None = None


class NnUnet:
    """nnU-Net with its default plan for a CT, ready to be timed turn by turn.

    Args: ``ct``: as of ``read_image``. ``classes``: with the background. ``folder``: for the CT's voxels, until the
    last turn. Raises ConfigError where nnunetv2 is not installed, RunError where its planner fails.
    """

    def __init__(self, ct: Path, classes: int, rival: Rival, folder: Path) -> None:
        self.rival, self.volume, self.classes = rival, folder / "volume.npy", classes
        image = read_image(ct)
        np.save(self.volume, image.hu)
        self.spacing = [float(s) for s in np.linalg.norm(np.asarray(image.affine)[:3, :3], axis=0)]
        job = {"mode": "plan", "shape": list(image.hu.shape), "spacing": self.spacing, "classes": classes}
        self.plan = self._run(job).answer
        self.turns: list[Ended] = []

    def turn(self) -> None:
        """One process. Raises RunError where it fails."""
        mode = "whole" if self.rival.whole else "window"
        job = {"mode": mode, "volume": str(self.volume), "spacing": self.spacing, "plan": self.plan}
        self.turns.append(self._run(job))

    def summed_up(self, reference: Sequence[Turn]) -> dict[str, Any]:
        """Figures of all turns; ``seconds`` are those of all windows, measured or computed as ``measured`` says."""
        windows = self.plan["windows"]
        times = 1 if self.rival.whole else windows
        seconds, cpu = ([turn.answer[name] for turn in self.turns] for name in ("seconds", "cpu_seconds"))
        whole, whole_cpu = statistics.median(seconds) * times, statistics.median(cpu) * times
        theirs, theirs_cpu = (statistics.median(t.seconds[step] for t in reference) for step in (NETWORKS, PASSES_CPU))
        return {
            **{key: self.plan[key] for key in ("shape", "patch", "windows", "features", "parameters")},
            "classes": self.classes,
            "measured": "whole" if self.rival.whole else "one window",
            "seconds_a_window": spread([s * times / windows for s in seconds]),
            "cpu_seconds_a_window": spread([s * times / windows for s in cpu]),
            "seconds": round(whole, 3),
            "cpu_seconds": round(whole_cpu, 3),
            "gflop": round(self.plan["gflop_a_window"] * windows, 1),
            "reference_seconds": round(theirs, 3),
            "reference_cpu_seconds": round(theirs_cpu, 3),
            "ratio": round(whole / max(theirs, 1e-9), 2),
            "cpu_ratio": round(whole_cpu / max(theirs_cpu, 1e-9), 2),
            "compared": f"{REFERENCE}: {NETWORKS}; processor seconds: {PASSES_CPU}",
            "peak_memory_mib": round(max(turn.answer["peak_memory_mib"] for turn in self.turns), 1),
        }

    def _run(self, job: dict[str, Any]) -> Ended:
        # Not by the script's path: its folder would come first on the path, where its neighbours shadow other modules.
        code = f"import runpy; runpy.run_path({str(SCRIPT)!r}, run_name='__main__')"
        try:
            return run_process([self.rival.python, "-c", code], job, NAME, self.rival.threads)
        except RunError as error:
            if "has no package nnunetv2" in str(error):
                raise ConfigError(f"{error}; install it: {INSTALL}, or give another one with --python") from error
            raise
        except FileNotFoundError as error:
            raise ConfigError(f"no Python at {self.rival.python}; give one that has nnunetv2") from error


def nnunet_text(found: Mapping[str, Any]) -> str:
    """Return the figures as a paragraph that says which were measured and which computed."""
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


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ct", type=Path, metavar="PATH", help="DICOM folder, NIfTI or NRRD file")
    parser.add_argument("--python", default=sys.executable, help="a Python that has nnunetv2 (default: this one)")
    parser.add_argument("--whole", action="store_true", help="all windows, not one")
    parser.add_argument("--repeats", type=int, default=3, metavar="N", help="turns (default: 3)")
    parser.add_argument("--threads", type=int, metavar="N", help="of every process")
    parser.add_argument("-o", "--out", type=Path, metavar="FILE", help="JSON with all figures")
    args = parser.parse_args(argv)
    try:
        found = compared(args)
    except OarsegError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(nnunet_text(found))
    if args.out:
        write_json(args.out, found)
    return 0


def compared(args: argparse.Namespace) -> dict[str, Any]:
    """Time nnU-Net and the reference in turns. Raises OarsegError."""
    bundle = read_bundle()
    # Not resolved: a virtual environment's Python is a link.
    python = os.path.abspath(args.python) if os.sep in args.python else args.python
    with tempfile.TemporaryDirectory(prefix="oarseg-nnunet-") as place:
        ct = args.ct
        if ct is None:
            from oarseg.demo.planning_ct import write_planning_ct

            ct = write_planning_ct(Path(place) / "ct")
        rival = NnUnet(ct, len(bundle.site.organs) + 1, Rival(python, args.whole, args.threads), Path(place))
        rows = [Setup(REFERENCE, bundle.root, None)]
        turns = in_turns(ct, rows, args.repeats, args.threads, also=rival.turn)
        return rival.summed_up(turns[REFERENCE])


if __name__ == "__main__":
    sys.exit(main())
