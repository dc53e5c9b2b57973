"""``oarseg segment``: one CT in, contours out."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from oarseg.cli._exit import DONE, NOTHING_FOUND
from oarseg.cli._progress import Progress, throttled
from oarseg.cli._server import CREDENTIALS, add_trust, make_server
from oarseg.errors import ConfigError
from oarseg.sites import load_site

if TYPE_CHECKING:
    from oarseg.inference.job import Result

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
      fetch the series and contour it (pip install 'oarseg[dicomweb]'); the server stays as it is
  oarseg segment --dicomweb https://pacs.example.org/dicom-web --series 1.2.840.113619.2.55.3 --store
      also store the RTSTRUCT in the study; without -o the results lie in a folder named by a hash of the series UID

{CREDENTIALS}
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``oarseg segment``."""
    names = ", ".join(organ.name for organ in load_site().organs)
    parser.add_argument(
        "input", metavar="INPUT", nargs="?", type=given_path, help="folder with a DICOM CT, NIfTI or NRRD file"
    )
    parser.add_argument(
        "-o", "--out", metavar="OUT", type=given_path,
        help="folder for the results; with --dicomweb by default named by a hash of the series UID",
    )  # fmt: skip
    parser.add_argument(
        "--organs", type=comma_list, metavar="A,B", help=f"only these, by TG-263 name or key: {names}"
    )
    parser.add_argument(
        "--series", metavar="X",
        help="which CT series: UID, start or end of a UID, or series number (see oarseg series); with --dicomweb the "
        "whole UID",
    )  # fmt: skip
    parser.add_argument(
        "--format", type=comma_list, metavar="A,B",
        help="nifti, rtstruct, seg (DICOM SEG) or all (default: nifti, and rtstruct if the CT is DICOM)",
    )  # fmt: skip
    parser.add_argument("--overwrite", action="store_true", help="replace earlier results in OUT; other files stay")
    parser.add_argument("--dicomweb", metavar="URL", help="fetch the series from this DICOMweb server")
    parser.add_argument("--study", metavar="UID", help="the study of the series (default: found on the server)")
    parser.add_argument("--store", action="store_true", help="store the RTSTRUCT (and DICOM SEG) on the server")
    # 0.1.0 stored by default; its option to store nothing is accepted and changes nothing.
    parser.add_argument("--no-store", action="store_true", help=argparse.SUPPRESS)
    add_trust(parser)
    add_running(parser)


def add_running(parser: argparse.ArgumentParser) -> None:
    """Add the options that ``oarseg demo`` has too."""
    parser.add_argument("--device", default="auto", metavar="D", help="auto (default), cpu, cuda or cuda:N")
    parser.add_argument(
        "--engine", default="auto", metavar="E",
        help="what computes: auto (default), torch or openvino; openvino:fp32, :bf16 or :int8 asks for a precision",
    )  # fmt: skip
    parser.add_argument("--bundle", metavar="DIR", help="another two-stage bundle than the installed one")
    parser.add_argument("-q", "--quiet", action="store_true", help="say nothing but warnings and errors")
    parser.add_argument("-v", "--verbose", action="store_true", help="show where an error came from")


def run(args: argparse.Namespace) -> int:
    """Segment one CT and print the organs; returns the exit code. Raises OarsegError."""
    check_source(args)
    formats = parse_formats(args.format)
    if args.organs and not args.bundle:
        for name in args.organs:
            load_site().organ(name)
    if args.dicomweb is not None:
        return _from_server(args, formats)
    return contour(
        args, args.input, args.out, organs=args.organs, series=args.series, formats=formats, overwrite=args.overwrite
    )


def contour(args: argparse.Namespace, source: Path, out: Path, **options: object) -> int:
    """Contour with progress, then print warnings to stderr and the organs to stdout; returns the exit code."""
    from oarseg.inference.job import STEPS, segment

    running = _begin(args)
    with Progress(STEPS, args.quiet) as progress:
        result = segment(source, out, progress=progress, **running, **options)
    return _report(args, result)


def _from_server(args: argparse.Namespace, formats: list[str] | None) -> int:
    """Contour a series of a DICOMweb server; returns the exit code."""
    from oarseg.dicomweb import NotStored, segment_series, series_name
    from oarseg.dicomweb.job import dicom_files
    from oarseg.inference.job import STEPS

    server = make_server(args, args.dicomweb)
    running = _begin(args)
    out = args.out or Path(series_name(args.series.strip()))
    try:
        with Progress(STEPS + 1 + args.store, args.quiet) as progress:
            result = segment_series(
                server, args.series, out, study=args.study, store_results=args.store, organs=args.organs,
                formats=formats, overwrite=args.overwrite, progress=throttled(progress), **running,
            )  # fmt: skip
    except NotStored as error:
        if error.result:
            _report(args, error.result)
        raise
    code = _report(args, result)
    stored = [path.name for path in dicom_files(result)]
    if args.store and not stored:
        print("oarseg: warning: nothing was stored on the server, as no DICOM result was written", file=sys.stderr)
    elif args.store and not args.quiet:
        print(f"stored on {server.url}: {', '.join(stored)}")
    return code


def _begin(args: argparse.Namespace) -> dict[str, object]:
    """Return the options of ``segment`` that say how to run."""
    if not args.quiet:
        print("oarseg: research use only, not a medical device", file=sys.stderr, flush=True)
    return {"device": args.device, "engine": args.engine, "bundle": args.bundle}


def _report(args: argparse.Namespace, result: Result) -> int:
    """Print warnings, volumes, engine and files; returns the exit code."""
    from oarseg.inference.engines import advice
    from oarseg.inference.report.content import summary_lines

    for warning in result.report["warnings"]:
        print(f"oarseg: warning: {warning}", file=sys.stderr)
    if not args.quiet:
        if hint := advice(args.engine, result.report["device"]):
            print(f"oarseg: note: {hint}", file=sys.stderr)
        print("\n".join(summary_lines(result.report)))
        print(f"computed by {result.engine}")
        print(f"written to {result.folder}: {', '.join(result.files)}")
    return DONE if result.segmentation.measures else NOTHING_FOUND


def check_source(args: argparse.Namespace) -> None:
    """Raise ConfigError unless exactly one CT is named, and every option serves it."""
    if args.dicomweb is None:
        if args.input is None:
            raise ConfigError("no CT given; give INPUT, or --dicomweb URL with --series UID")
        if args.out is None:
            raise ConfigError("no folder for the results given; give -o OUT")
        useless = [name for name in ("study", "store", "ca_bundle", "token_file") if getattr(args, name)]
        if useless:
            raise ConfigError(f"--{useless[0].replace('_', '-')} needs --dicomweb URL")
        return
    if args.input is not None:
        raise ConfigError("both INPUT and --dicomweb are given; give one")
    if not (args.series or "").strip():
        raise ConfigError("--dicomweb needs --series UID: a whole SeriesInstanceUID")


def parse_formats(names: list[str] | None) -> list[str] | None:
    """Return ``names``; None stands for the usual formats. Raises ConfigError for an unknown one."""
    from oarseg.inference.job import ALL, FORMATS

    known = (*FORMATS, ALL)
    unknown = [name for name in names or () if name not in known]
    if unknown:
        raise ConfigError(f"unknown format {unknown[0]!r}; --format takes {', '.join(known)}")
    return names


def given_path(text: str) -> Path:
    """Return a path. Raises ArgumentTypeError for an empty one, which an unset variable leaves."""
    if not text.strip():
        raise argparse.ArgumentTypeError("the path is empty")
    return Path(text)


def comma_list(text: str) -> list[str]:
    """Return the names in ``a, b``, in lower case, each once. Raises ArgumentTypeError where there is none."""
    names = list(dict.fromkeys(part.strip().lower() for part in text.split(",") if part.strip()))
    if not names:
        raise argparse.ArgumentTypeError("expected names separated by commas")
    return names
