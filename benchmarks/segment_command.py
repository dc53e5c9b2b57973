"""Time and peak memory of the whole command, from start to files, each run in a fresh process.

    python benchmarks/segment_command.py CT [--runs 3]

The machine's speed is told by a reference in the same run: a process that only imports what the command needs
(torch and MONAI). The ratio to it can be compared between machines; the seconds cannot.
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


def measure(command: list[str]) -> tuple[float, float]:
    """Wall seconds and peak resident GiB of a command run to its end. Raises RuntimeError where it fails."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    errors = process.stderr.read() if process.stderr else b""
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    if status:
        raise RuntimeError(f"{' '.join(command)} failed:\n{errors.decode(errors='replace')}")
    # Linux counts in KiB, macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    return seconds, usage.ru_maxrss * unit / 2**30


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ct", type=Path, help="DICOM folder, NIfTI or NRRD file")
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    imports = "import torch, monai.bundle, monai.transforms"
    reference = [measure([sys.executable, "-c", imports]) for _ in range(args.runs)]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "oarseg.cli", "segment", str(args.ct), "-o", f"{folder}/out", "--overwrite"]
        job = [measure(command) for _ in range(args.runs)]
    floor, whole = (statistics.median(s for s, _ in runs) for runs in (reference, job))
    print(f"| step | median seconds of {args.runs} | peak GiB | ratio |")
    print("|---|---|---|---|")
    print(f"| import torch and MONAI | {floor:.1f} | {max(g for _, g in reference):.2f} | 1 |")
    print(f"| oarseg segment, start to files | {whole:.1f} | {max(g for _, g in job):.2f} | {whole / floor:.1f} |")
    print(f"{os.cpu_count()} CPU cores")
    return 0


if __name__ == "__main__":
    sys.exit(main())
