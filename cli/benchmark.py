"""``oarseg benchmark``: seconds, memory, operations, size and agreement of engines and models on one CT."""

from __future__ import annotations

import argparse
import math
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from oarseg.cli.segment import comma_list
from oarseg.errors import ConfigError, OutputError

SIZE = (150, 512, 512)
EXAMPLES = """  oarseg benchmark
      the installed bundle by every engine that is installed, on a synthetic CT of 150 slices of 512 x 512
  oarseg benchmark --ct planning_ct --engines torch,openvino:int8 --repeats 5 -o benchmark.json
      two engines on a CT of one's own; all figures as JSON
  oarseg benchmark --models compressed/hn_ct_two_stage --threads 2
      another two-stage bundle beside the installed one

Every figure is of a fresh process that does what oarseg segment does. Rows run in turns with the reference (plain
PyTorch, float32, eager, contiguous, the bundle's own weights), so that the ratio to it holds on a machine that does
other work; the seconds do not.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``oarseg benchmark``."""
    parser.add_argument("--ct", type=Path, metavar="PATH", help="DICOM folder, NIfTI or NRRD file (default: synthetic)")
    parser.add_argument(
        "--size", type=size, metavar="D,H,W",
        help=f"slices, rows, columns of the synthetic CT (default: {','.join(map(str, SIZE))})",
    )  # fmt: skip
    parser.add_argument(
        "--engines", type=comma_list, metavar="A,B",
        help="as of segment --engine (default: torch, and openvino if installed and on the CPU)",
    )  # fmt: skip
    parser.add_argument("--models", type=Path, nargs="+", default=[], metavar="DIR", help="more two-stage bundles")
    parser.add_argument("--reference", type=Path, metavar="DIR", help="the reference's bundle (default: the installed)")
    parser.add_argument("--repeats", type=int, default=3, metavar="N", help="turns (default: 3)")
    parser.add_argument("--threads", type=int, metavar="N", help="of every process (default: what each takes)")
    parser.add_argument("--device", default="cpu", metavar="D", help="cpu (default), cuda or cuda:N; for engine torch")
    parser.add_argument("-o", "--out", type=Path, metavar="FILE", help="JSON with all figures")
    parser.add_argument("--overwrite", action="store_true", help="replace FILE")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress, no table")


def size(text: str) -> tuple[int, int, int]:
    """``D,H,W`` as three numbers that a synthetic CT can have. Raises ArgumentTypeError."""
    try:
        slices, rows, columns = (int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not three whole numbers such as 150,512,512") from None
    if not (20 <= slices <= 1000 and 64 <= rows <= 2048 and 64 <= columns <= 2048):
        raise argparse.ArgumentTypeError(f"{text!r}: 20 to 1000 slices of 64 to 2048 rows and columns")
    from oarseg.geometry.check_ct import MAX_VOXELS

    if math.prod((slices, rows, columns)) > MAX_VOXELS:
        raise argparse.ArgumentTypeError(f"{text!r}: {MAX_VOXELS:,} voxels at most")
    return slices, rows, columns


def run(args: argparse.Namespace) -> int:
    """Measure, print the table, then write the JSON. Raises OarsegError."""
    check(args)
    from oarseg.benchmark.run import in_turns, setups, summed_up
    from oarseg.benchmark.table import markdown

    rows = setups(args.engines or default_engines(args.device), args.models, args.reference)

    def progress(step: str) -> None:
        if not args.quiet:
            print(f"oarseg: {step}", file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory(prefix="oarseg-benchmark-") as folder:
        ct = args.ct or synthetic(Path(folder) / "ct", args.size or SIZE, progress)
        turns = in_turns(ct, rows, args.repeats, args.threads, args.device, progress)
    result = summed_up(rows, turns)
    result["machine"]["threads"] = args.threads or os.environ.get("OMP_NUM_THREADS") or os.cpu_count()
    result["ct"]["synthetic"] = args.ct is None
    if not args.quiet:
        print(markdown(result), end="", flush=True)
    write(args.out, result)
    return 0


def check(args: argparse.Namespace) -> None:
    """Raises ConfigError, InputError or OutputError for what could only fail after the work."""
    for name in ("repeats", "threads"):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise ConfigError(f"--{name} {value}: expected 1 or more")
    if args.ct and args.size:
        raise ConfigError("--size is of the synthetic CT; leave it out with --ct")
    if args.out and args.out.is_dir():
        raise OutputError(f"{args.out} is a folder; give a file for the JSON")
    if args.out and args.out.exists() and not args.overwrite:
        raise OutputError(f"{args.out} exists; give another file, or --overwrite to replace it")
    if args.out:
        from oarseg.files import writing

        with writing(args.out), tempfile.TemporaryFile(dir=args.out.absolute().parent):
            pass


def default_engines(device: str) -> list[str]:
    """PyTorch, and OpenVINO where it is installed and runs: on the CPU."""
    from oarseg.requires import installed

    return ["torch", "openvino"] if installed("openvino") and device.partition(":")[0] == "cpu" else ["torch"]


def synthetic(folder: Path, shape: tuple[int, int, int], progress: Callable[[str], None]) -> Path:
    """Return a CT made from the embedded average, with the slices' sides as long whatever their number of pixels is."""
    from oarseg.demo.planning_ct import SHAPE, SPACING, write_planning_ct

    progress("making the synthetic CT")
    extent = [n * s for n, s in zip(SHAPE, SPACING, strict=True)]
    return write_planning_ct(folder, shape, tuple(round(e / n, 4) for e, n in zip(extent, shape, strict=True)))


def write(path: Path | None, result: dict) -> None:
    """Write the JSON, whole or not at all. Raises OutputError."""
    if path:
        from oarseg.files import write_json

        write_json(path, result)
