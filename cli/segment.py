"""``oarseg segment``: one CT in, contours out."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from oarseg.cli._progress import Progress
from oarseg.cli._server import CREDENTIALS, add_trust, make_server
from oarseg.errors import ConfigError
from oarseg.sites import load_site

if TYPE_CHECKING:
    from oarseg.inference.job import Result

NAME = "segment"
HELP = "contour the organs at risk in one CT"
ORDER = 10
# Between two lines of progress within a step.
PACE_SECONDS = 5.0
EXAMPLES = f"""  oarseg segment planning_ct -o contours
      DICOM folder in; contours/ gets rtstruct.dcm, segmentation.nii.gz, report.html, report.json and preview.png
  oarseg segment planning_ct -o contours --series 4 --organs brainstem,parotid_left,parotid_right
      one series of several, three organs
  oarseg segment planning_ct -o contours --format rtstruct,seg
      a DICOM SEG too (segmentation.dcm; needs pip install 'oarseg[seg]'), no NIfTI
  oarseg segment ct.nii.gz -o contours --device cpu --overwrite
      NIfTI in, on the processor, replacing earlier results
  oarseg segment ct.nii.gz -o contours --engine torch:fp32
      by PyTorch in full precision: the reference, several times slower
  oarseg segment --dicomweb https://pacs.example.org/dicom-web --series 1.2.840.113619.2.55.3 -o contours
      fetch the series, contour it, and store the RTSTRUCT in its study (pip install 'oarseg[dicomweb]')
  oarseg segment --dicomweb https://pacs.example.org/dicom-web --series 1.2.840.113619.2.55.3 --no-store
      store nothing; without -o, into a folder named by the first 16 hex digits of the SHA-256 of the series's UID

{CREDENTIALS}
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``oarseg segment``."""
    keys = ", ".join(load_site().values)
    parser.add_argument(
        "input", metavar="INPUT", nargs="?", type=given_path, help="folder with a DICOM CT, NIfTI or NRRD file"
    )
    parser.add_argument(
        "-o", "--out", metavar="OUT", type=given_path,
        help="folder for the results; with --dicomweb by default named by a hash of the series's UID",
    )  # fmt: skip
    parser.add_argument("--organs", type=comma_list, metavar="A,B", help=f"only these; known: {keys}")
    parser.add_argument(
        "--series", metavar="X",
        help="which CT series: UID, start or end of a UID, or series number; with --dicomweb the whole UID",
    )  # fmt: skip
    parser.add_argument(
        "--format",
        type=comma_list,
        metavar="A,B",
        help="nifti, rtstruct, seg (DICOM SEG) or all (default: nifti, and rtstruct if possible)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace earlier results in OUT; other files stay")
    parser.add_argument(
        "--dicomweb", metavar="URL", help="fetch the series from this DICOMweb server, and store what is drawn there"
    )
    parser.add_argument("--study", metavar="UID", help="the study of the series; by default the server is asked")
    parser.add_argument("--no-store", action="store_true", help="fetch only, store nothing on the server")
    add_trust(parser)
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
    check_source(args)
    formats = parse_formats(args.format)
    if args.organs and not args.bundle:
        for key in args.organs:
            load_site().organ(key)
    if args.dicomweb is not None:
        return _from_server(args, formats)
    return contour(
        args, args.input, args.out, organs=args.organs, series=args.series, formats=formats, overwrite=args.overwrite
    )


def contour(args: argparse.Namespace, source: Path, out: Path, **options: object) -> int:
    """Run the job with progress, then print warnings to stderr and the organs to stdout."""
    from oarseg.inference.job import STEPS, segment

    running = _begin(args)
    with Progress(STEPS, args.quiet) as progress:
        done = segment(source, out, progress=progress, **running, **options)
    _tell(args, done)
    return 0


def _from_server(args: argparse.Namespace, formats: list[str] | None) -> int:
    """The same with a series of a DICOMweb server."""
    from oarseg.dicomweb import NotStored, segment_series, series_name
    from oarseg.dicomweb.job import dicom_files
    from oarseg.inference.job import STEPS

    server = make_server(args, args.dicomweb)
    running = _begin(args)
    out = args.out or Path(series_name(args.series.strip()))
    try:
        with Progress(STEPS + 2 - args.no_store, args.quiet) as progress:
            done = segment_series(
                server, args.series, out, study=args.study, store_results=not args.no_store, organs=args.organs,
                formats=formats, overwrite=args.overwrite, progress=_paced(progress), **running,
            )  # fmt: skip
    except NotStored as error:
        if error.result:
            _tell(args, error.result)
        raise
    _tell(args, done)
    stored = [path.name for path in dicom_files(done)]
    if not args.no_store and not stored:
        print("oarseg: warning: nothing was stored on the server, as no DICOM result was written", file=sys.stderr)
    elif not args.no_store and not args.quiet:
        print(f"stored on {server.url}: {', '.join(stored)}")
    return 0


def _begin(args: argparse.Namespace) -> dict[str, object]:
    """Options of the job that say how to run."""
    if not args.quiet:
        print("oarseg: research use only, not a medical device", file=sys.stderr, flush=True)
    from oarseg.inference.engines import check_engine

    check_engine(args.engine)
    return {"device": args.device, "engine": args.engine, "bundle": args.bundle}


def _paced(progress: Progress) -> Callable[[str], None]:
    """``progress``, told of a step when it begins, and of what comes after a colon in it now and then."""
    told = {"group": "", "at": 0.0}

    def tell(step: str) -> None:
        group, _, detail = step.partition(":")
        if group != told["group"] or not detail.endswith(" slices") or time.monotonic() > told["at"] + PACE_SECONDS:
            told.update(group=group, at=time.monotonic())
            progress(step)

    return tell


def _tell(args: argparse.Namespace, done: Result) -> None:
    from oarseg.inference.engines import advice
    from oarseg.inference.report.content import summary_lines

    for warning in done.report["warnings"]:
        print(f"oarseg: warning: {warning}", file=sys.stderr)
    if not args.quiet:
        if hint := advice(args.engine, done.report["device"]):
            print(f"oarseg: note: {hint}", file=sys.stderr)
        print("\n".join(summary_lines(done.report)))
        print(f"written to {done.folder}: {', '.join(done.files)}")


def check_source(args: argparse.Namespace) -> None:
    """Raises ConfigError where it is not clear where the CT is, or an option is of no use there."""
    if args.dicomweb is None:
        if args.input is None:
            raise ConfigError("no CT given; give INPUT, or --dicomweb URL with --series UID")
        if args.out is None:
            raise ConfigError("no folder for the results given; give -o OUT")
        useless = [name for name in ("study", "no_store", "ca_bundle", "token_file") if getattr(args, name)]
        if useless:
            raise ConfigError(f"--{useless[0].replace('_', '-')} is of use with --dicomweb only")
        return
    if args.input is not None:
        raise ConfigError("both INPUT and --dicomweb are given; give one")
    if not (args.series or "").strip():
        raise ConfigError("--dicomweb needs --series UID: a whole SeriesInstanceUID")


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
