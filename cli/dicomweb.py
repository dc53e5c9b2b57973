"""``oarseg dicomweb``: store contours that did not reach a server."""

from __future__ import annotations

import argparse
from pathlib import Path

from oarseg.cli._server import CREDENTIALS, add_trust, make_server

# Up to so many file names are printed; more are counted.
SHOWN = 4
EXAMPLES = f"""  oarseg dicomweb store https://pacs.example.org/dicom-web contours/rtstruct.dcm
      what the server has already it does not get twice

{CREDENTIALS}
Needs pip install 'oarseg[dicomweb]'. docs/dicomweb.md.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``oarseg dicomweb``."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    action = actions.add_parser("store", help="store DICOM files (STOW-RS)")
    action.add_argument("url", metavar="URL", help="root of the DICOMweb service")
    action.add_argument("files", metavar="FILE", type=Path, nargs="+", help="DICOM file")
    add_trust(action)
    action.add_argument("-q", "--quiet", action="store_true", help="say nothing but warnings and errors")


def run(args: argparse.Namespace) -> int:
    """Store the files. Raises OarsegError."""
    from oarseg.dicomweb import store

    server = make_server(args, args.url)
    stored = store(server, args.files)
    if not args.quiet:
        names = ", ".join(path.name for path in args.files)
        print(f"stored on {server.url}: {names if len(stored) <= SHOWN else f'{len(stored)} files'}")
    return 0
