"""nnU-Net's predictor on the same CT, in the same turns: one window of it, or the whole."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from oarseg.benchmark.process import Ended, RunError, run_process
from oarseg.benchmark.run import NETWORKS, PASSES_CPU, REFERENCE, Turn, spread
from oarseg.errors import ConfigError
from oarseg.images.read import read_image

SCRIPT = Path(__file__).resolve().parent / "nnunet_child.py"
INSTALL = "pip install 'oarseg[nnunet]'"
NAME = "nnU-Net"


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
        self.plan = self._run(job).told
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
        seconds, cpu = ([turn.told[name] for turn in self.turns] for name in ("seconds", "cpu_seconds"))
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
            "peak_memory_mib": round(max(turn.told["peak_memory_mib"] for turn in self.turns), 1),
        }

    def _run(self, job: dict[str, Any]) -> Ended:
        # Not by the script's path: its folder would come first on the path, where its neighbours shadow other modules.
        code = f"import runpy; runpy.run_path({str(SCRIPT)!r}, run_name='__main__')"
        try:
            return run_process([self.rival.python, "-c", code], job, NAME, self.rival.threads)
        except RunError as error:
            if "has no package nnunetv2" in str(error):
                raise ConfigError(f"{error}; install it: {INSTALL}, or give --nnunet-python of one that has") from error
            raise
        except FileNotFoundError as error:
            raise ConfigError(f"no Python at {self.rival.python}; give one that has nnunetv2") from error
