"""``oarseg series``: the CT series that could be contoured, before one of them is."""

from __future__ import annotations

import argparse
import sys

from oarseg.cli._server import CREDENTIALS, add_query, add_trust, make_server, parse_query
from oarseg.cli.segment import given_path
from oarseg.errors import ConfigError, InputError

EXAMPLES = f"""  oarseg series export
      number, description, slices, size and UID of each CT series below export/
  oarseg series --dicomweb https://pacs.example.org/dicom-web --query PatientID=1234
      the CT series of a patient on a DICOMweb server; --query all lists every one

No patient is named. Give a UID, or a series number, to oarseg segment --series.

{CREDENTIALS}
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``oarseg series``."""
    parser.add_argument("input", metavar="INPUT", nargs="?", type=given_path, help="folder with DICOM files")
    parser.add_argument("--dicomweb", metavar="URL", help="the CT series of this DICOMweb server, instead of INPUT")
    add_query(parser)
    add_trust(parser)


def run(args: argparse.Namespace) -> int:
    """Print a line for each series. Raises OarsegError."""
    if (args.input is None) == (args.dicomweb is None):
        raise ConfigError("give either INPUT, a folder with DICOM files, or --dicomweb URL")
    return _in_folder(args) if args.dicomweb is None else _on_server(args)


def _in_folder(args: argparse.Namespace) -> int:
    from oarseg.dicom import listing, scan_folder

    scan = scan_folder(args.input)
    for note in (*scan.notes, *(f"{path.path.name}: {path.reason}" for path in scan.damaged)):
        print(f"oarseg: note: {note}", file=sys.stderr)
    if not scan.series:
        raise InputError(f"folder {args.input} holds no CT slices")
    print(listing(scan.series))
    return 0


def _on_server(args: argparse.Namespace) -> int:
    from oarseg.dicomweb import find_series

    server, count = make_server(args, args.dicomweb), 0
    for count, found in enumerate(find_series(server, parse_query(args.query), args.limit), 1):
        slices = "unknown number of" if found.count is None else found.count
        print(f"  {count}. {slices} slices, study UID {found.study}, UID {found.uid}", flush=True)
    if not count:
        raise InputError(f"no CT series on {server.url} fits the query")
    return 0
