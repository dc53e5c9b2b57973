"""How much quicker ``oarseg batch`` is than a command a CT, and whether its memory stays flat.

    python -m experiments.benchmarks.cohort_rate [COHORT] [--cases 100] [--commands 5] [--workers 0]

``COHORT``: folder tree or datalist; without one, ``--cases`` copies of the embedded CT, each moved by some voxels. A
command a CT is timed on ``--commands`` of them, before and after the batch, so that the ratio holds on a machine that
does other work. Memory: of a worker after its first and after its last tenth of the cases (peak resident).
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nibabel as nib
import numpy as np

from oarseg.cohort import find_cases
from oarseg.cohort.journal import DONE, JOURNAL
from oarseg.demo.planning_ct import FOLDER
from oarseg.images.read import read_image


def copies(folder: Path, count: int) -> Path:
    """The embedded CT ``count`` times as NIfTI, each rolled by another number of slices and columns."""
    image = read_image(FOLDER)
    folder.mkdir()
    for n in range(count):
        hu = np.roll(image.hu, (n % 3, n % 7), (0, 2))
        nib.save(nib.Nifti1Image(hu, image.affine), folder / f"ct{n:04d}.nii")
    return folder


def commands(cases: list, out: Path) -> float:
    """Seconds a case of one ``oarseg segment`` after the other."""
    seconds = []
    for number, case in enumerate(cases):
        began = time.perf_counter()
        target = ["-o", str(out / str(number)), "--quiet", "--device", "cpu"]
        series = ["--series", case.series] if case.series else []
        run(["segment", case.source, *series, *target])
        seconds.append(time.perf_counter() - began)
    return statistics.mean(seconds)


def run(arguments: list[str]) -> None:
    """One command of oarseg, from a folder that has none of its packages. Raises RuntimeError where it fails."""
    command = [sys.executable, "-m", "oarseg.cli", *arguments]
    done = subprocess.run(command, cwd=tempfile.gettempdir(), capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{arguments[:2]} failed:\n{done.stderr}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "cohort", nargs="?", type=Path, help="folder tree or datalist (default: copies of the embedded CT)"
    )
    parser.add_argument("--cases", type=int, default=100)
    parser.add_argument("--commands", type=int, default=5, help="timed before, and as many after (default: 5)")
    parser.add_argument("--workers", type=int, default=0, help="as of oarseg batch")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        cohort = args.cohort.resolve() if args.cohort else copies(folder / "in", args.cases)
        cases = list(find_cases(cohort))
        chosen = cases[:: max(1, len(cases) // args.commands)][: args.commands]
        # What is compiled at the first run of an installation is no part of any other.
        commands(chosen[:1], folder / "first")
        before = commands(chosen, folder / "before")
        began = time.perf_counter()
        run(["batch", str(cohort), "-o", str(folder / "out"), "-q", "--device", "cpu", "--workers", str(args.workers)])
        batch = (time.perf_counter() - began) / len(cases)
        after = commands(chosen, folder / "after")
        rows = [json.loads(line) for line in (folder / "out" / JOURNAL).read_text().splitlines()]
    peaks = [row["peak_mib"] for row in rows if row["status"] == DONE]
    tenth = max(1, len(peaks) // 10)
    command = (before + after) / 2
    print(f"cases: {len(rows)}, done: {len(peaks)}")
    print(f"a command a CT: {command:.2f} s a case ({before:.2f} before the batch, {after:.2f} after it)")
    print(f"oarseg batch, its start included: {batch:.2f} s a case, {command / batch:.1f} times as quick")
    print(
        f"peak memory of a worker: {max(peaks[:tenth]):.0f} MiB after the first tenth, {max(peaks):.0f} MiB at the end"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
