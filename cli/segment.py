"""``oarseg segment``: one CT in, contours out."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from oarseg.cli._progress import Progress
from oarseg.errors import ConfigError
from oarseg.sites import load_site

NAME = "segment"
HELP = "contour the organs at risk in one CT"
ORDER = 10
EXAMPLES = """  oarseg segment planning_ct -o contours
      DICOM folder in; contours/ gets rtstruct.dcm, segmentation.nii.gz, report.html, report.json and preview.png
  oarseg segment planning_ct -o contours --series 4 --organs brainstem,parotid_left,parotid_right
      one series of several, three organs
  oarseg segment planning_ct -o contours --format rtstruct,seg
      a DICOM SEG too (segmentation.dcm; needs pip install 'oarseg[seg]'), no NIfTI
  oarseg segment ct.nii.gz -o contours --device cpu --overwrite
      NIfTI in, on the processor, replacing earlier results
  oarseg segment ct.nii.gz -o contours --engine torch:fp32
      by PyTorch in full precision: the reference, several times slower
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``oarseg segment``."""
    keys = ", ".join(load_site().values)
    parser.add_argument("input", metavar="INPUT", type=given_path, help="folder with a DICOM CT, NIfTI or NRRD file")
    parser.add_argument("-o", "--out", metavar="OUT", type=given_path, required=True, help="folder for the results")
    parser.add_argument("--organs", type=comma_list, metavar="A,B", help=f"only these; known: {keys}")
    parser.add_argument("--series", metavar="X", help="which CT series: UID, start or end of a UID, or series number")
    parser.add_argument(
        "--format",
        type=comma_list,
        metavar="A,B",
        help="nifti, rtstruct, seg (DICOM SEG) or all (default: nifti, and rtstruct if possible)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace earlier results in OUT; other files stay")
    add_running(parser)


def add_running(parser: argparse.ArgumentParser) -> None:
    """Options that say how to run, shared with ``oarseg demo``."""
    parser.add_argument("--device", default="auto", metavar="D", help="auto (default), cpu, cuda or cuda:N")
    parser.add_argument(
        "--engine", default="auto", metavar="E",
        help="what computes: auto (default), torch or openvino; openvino:fp32, :bf16 or :int8 asks for a precision",
    )  # fmt: skip
    parser.add_argument("--bundle", metavar="DIR", help="another two-stage bundle than the installed one")
    parser.add_argument("-q", "--quiet", action="store_true", help="say nothing but warnings and errors")
    parser.add_argument("-v", "--verbose", action="store_true", help="show where an error came from")


def run(args: argparse.Namespace) -> int:
    """Segment, and tell what was found. Raises OarsegError."""
    formats = parse_formats(args.format)
    if args.organs and not args.bundle:
        for key in args.organs:
            load_site().organ(key)
    return contour(
        args, args.input, args.out, organs=args.organs, series=args.series, formats=formats, overwrite=args.overwrite
    )


def contour(args: argparse.Namespace, source: Path, out: Path, **options: object) -> int:
    """Run the job with progress, then print warnings to stderr and the organs to stdout."""
    if not args.quiet:
        print("oarseg: research use only, not a medical device", file=sys.stderr, flush=True)
    from oarseg.evaluation.report import summary_lines
    from oarseg.inference.engines import advice, check_engine
    from oarseg.inference.job import STEPS, segment

    check_engine(args.engine)
    running = {"device": args.device, "engine": args.engine, "bundle": args.bundle}
    with Progress(STEPS, args.quiet) as progress:
        done = segment(source, out, progress=progress, **running, **options)
    for warning in done.report["warnings"]:
        print(f"oarseg: warning: {warning}", file=sys.stderr)
    if not args.quiet:
        if hint := advice(args.engine, done.report["device"]):
            print(f"oarseg: note: {hint}", file=sys.stderr)
        print("\n".join(summary_lines(done.report)))
        print(f"written to {done.folder}: {', '.join(done.files)}")
    return 0


def parse_formats(names: list[str] | None) -> list[str] | None:
    """Without ``--format``, the usual ones (None). Raises ConfigError for an unknown one."""
    from oarseg.inference.job import ALL, FORMATS

    known = (*FORMATS, ALL)
    unknown = [name for name in names or () if name not in known]
    if unknown:
        raise ConfigError(f"unknown format {unknown[0]!r}; --format takes {', '.join(known)}")
    return names


def given_path(text: str) -> Path:
    """A path; an empty one, as an unset variable leaves it, is not the current folder. Raises ArgumentTypeError."""
    if not text.strip():
        raise argparse.ArgumentTypeError("the path is empty")
    return Path(text)


def comma_list(text: str) -> list[str]:
    """``a, b`` -> ["a", "b"], each once. Raises ArgumentTypeError where there is none."""
    names = list(dict.fromkeys(part.strip().lower() for part in text.split(",") if part.strip()))
    if not names:
        raise argparse.ArgumentTypeError("expected names separated by commas")
    return names
