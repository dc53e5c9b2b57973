"""``oarseg demo``: the job of ``oarseg segment`` on the CT that comes with oarseg, an average of many patients."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from oarseg.cli.segment import add_running, contour
from oarseg.errors import InputError
from oarseg.identity import short_hash

EXAMPLES = """  oarseg demo
  oarseg demo -o trial --device cpu
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``oarseg demo``."""
    parser.add_argument("-o", "--out", metavar="OUT", type=Path, default=Path("oarseg_demo"),
                        help="folder for the results (default: ./oarseg_demo)")  # fmt: skip
    add_running(parser)


def run(args: argparse.Namespace) -> int:
    """Segment the embedded CT. Raises OarsegError."""
    folder = demo_folder()
    code = contour(args, folder, args.out, overwrite=is_earlier_demo(args.out, folder))
    if not args.quiet:
        print(f"open {args.out / 'preview.png'} first; load {folder} with {args.out / 'rtstruct.dcm'} in any viewer")
    return code


def demo_folder() -> Path:
    """The embedded CT's folder. Raises InputError where the installation lacks it."""
    import oarseg.demo

    folder = Path(oarseg.demo.__file__).parent / "ct"
    if not any(folder.glob("*.dcm")):
        raise InputError(f"the demo CT is missing from this installation ({folder}); install oarseg again")
    return folder


def is_earlier_demo(out: Path, folder: Path) -> bool:
    """Whether ``out`` holds the results of an earlier demo, known by the series that its report names.

    Then they are replaced without asking; the results of a patient are not.
    """
    from oarseg.dicom.read.header import Header, read_header

    try:
        earlier = json.loads((out / "report.json").read_text(encoding="utf-8"))["input"]["series_sha256_16"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    first = read_header(min(folder.glob("*.dcm")))
    uid = first.text("SeriesInstanceUID") if isinstance(first, Header) else ""
    return earlier == short_hash(uid)
