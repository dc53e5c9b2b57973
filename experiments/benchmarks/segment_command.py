"""Time and peak memory of contouring a CT: the whole command from start to files, and a CT more in a running process.

    python -m experiments.benchmarks.segment_command [CT] [--runs 3] [--engine auto] [--bundle DIR]

Without CT, one of 512 x 512 x 150 voxels is made of the embedded average. Every figure is of a fresh process, and
a reference shows the machine's speed in the same run: the same CT by PyTorch in full precision, weights loaded. The
ratios to it can be compared between machines and between busy and idle hours; the seconds cannot.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# Contours the CT twice with one pipeline: the second time is that of a batch. Prints wall and CPU seconds of it.
WARM = """
import sys, time
from oarseg.inference import Pipeline
from oarseg.inference.job import segment
ct, out, engine, bundle = sys.argv[1:]
pipeline = Pipeline(bundle or None, "cpu", engine=engine)
for _ in range(2):
    wall, cpu = time.perf_counter(), time.process_time()
    segment(ct, out, pipeline=pipeline, overwrite=True)
print(time.perf_counter() - wall, time.process_time() - cpu)
"""
Run = tuple[float, float, float]


def measure(command: list[str]) -> tuple[Run, str]:
    """Wall and CPU seconds and peak resident GiB of a command run to its end, and what it printed.

    Raises RuntimeError where it fails.
    """
    began = time.perf_counter()
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as errors:
        # Not from the repository: its folders are no top-level packages of the command's.
        process = subprocess.Popen(command, stdout=said, stderr=errors, cwd=tempfile.gettempdir())
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = status
        seconds = time.perf_counter() - began
        if status:
            errors.seek(0)
            raise RuntimeError(f"{command[:4]} failed:\n{errors.read().decode(errors='replace')}")
        said.seek(0)
        # Linux counts in KiB, macOS in bytes.
        unit = 1 if sys.platform == "darwin" else 1024
        memory = usage.ru_maxrss * unit / 2**30
        return (seconds, usage.ru_utime + usage.ru_stime, memory), said.read().decode()


def cold(ct: Path, out: str, engine: str, bundle: str) -> Run:
    """The command, from start to files."""
    command = [sys.executable, "-m", "oarseg.cli", "segment", str(ct), "-o", out, "--overwrite", "--quiet"]
    options = ["--device", "cpu", "--engine", engine, *(["--bundle", bundle] if bundle else [])]
    return measure([*command, *options])[0]


def warm(ct: Path, out: str, engine: str, bundle: str) -> Run:
    """A CT more with the networks loaded, and the memory of the process."""
    (_, _, memory), said = measure([sys.executable, "-c", WARM, str(ct), out, engine, bundle])
    wall, cpu = map(float, said.split())
    return wall, cpu, memory


def table(runs: dict[str, list[Run]], reference: str) -> str:
    """Markdown: medians, and the median of the ratios to the reference measured in the same round."""
    lines = ["| what | seconds | CPU seconds | peak GiB | reference / it |", "|---|---|---|---|---|"]
    for name, rows in runs.items():
        wall, cpu = (statistics.median(row[i] for row in rows) for i in (0, 1))
        ratio = statistics.median(base[0] / row[0] for base, row in zip(runs[reference], rows, strict=True))
        lines.append(f"| {name} | {wall:.1f} | {cpu:.1f} | {max(row[2] for row in rows):.2f} | {ratio:.1f} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ct", nargs="?", type=Path, help="DICOM folder, NIfTI or NRRD file (default: a synthetic CT)")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--engine", default="auto", help="see oarseg segment --help (default: auto)")
    parser.add_argument("--bundle", default="", help="another two-stage bundle than the installed one")
    args = parser.parse_args()
    reference = "PyTorch fp32, warm (reference)"
    runs: dict[str, list[Run]] = {reference: [], f"{args.engine}, cold: the command": [], f"{args.engine}, warm": []}
    with tempfile.TemporaryDirectory() as folder:
        ct, out = args.ct and args.ct.resolve(), f"{folder}/out"
        if ct is None:
            ct = Path(folder, "ct")
            measure([sys.executable, "-m", "oarseg.demo.planning_ct", str(ct)])
        # What is compiled at the first run of an installation is no part of any other.
        cold(ct, out, args.engine, args.bundle)
        for _ in range(args.runs):
            rounds = (warm(ct, out, "torch:fp32", args.bundle), cold(ct, out, args.engine, args.bundle),
                      warm(ct, out, args.engine, args.bundle))  # fmt: skip
            for rows, row in zip(runs.values(), rounds, strict=True):
                rows.append(row)
    print(table(runs, reference))
    print(f"median of {args.runs}; {os.cpu_count()} CPU cores")
    return 0


if __name__ == "__main__":
    sys.exit(main())
