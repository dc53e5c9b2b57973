"""Options of the commands that work with a DICOMweb server, and the server that they name."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from oarseg.dicomweb import Server

CREDENTIALS = """Credentials for a DICOMweb server come from --token-file, OARSEG_DICOMWEB_TOKEN, OARSEG_DICOMWEB_USER
with OARSEG_DICOMWEB_PASSWORD, or ~/.netrc, whichever is there first; never from the command line: others can see it."""


def add_trust(parser: argparse.ArgumentParser) -> None:
    """Options beside the URL."""
    parser.add_argument("--ca-bundle", metavar="PEM", help="trust these authorities' certificates of DICOMweb servers")
    parser.add_argument("--token-file", metavar="FILE", help="file with a bearer token for the DICOMweb server")


def make_server(args: argparse.Namespace, url: str) -> Server:
    """The server, with a warning where it is not safe to talk to. Raises ConfigError."""
    from oarseg.dicomweb import Server

    server = Server(url, args.ca_bundle, args.token_file)
    if server.risk:
        print(f"oarseg: warning: {server.risk}", file=sys.stderr, flush=True)
    return server
