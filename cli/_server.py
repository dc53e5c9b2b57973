"""Options of the commands that work with a DICOMweb server, and the server that they name."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from oarseg.errors import ConfigError

if TYPE_CHECKING:
    from oarseg.dicomweb import Server

CREDENTIALS = """Credentials for a DICOMweb server come from --token-file, OARSEG_DICOMWEB_TOKEN, OARSEG_DICOMWEB_USER
with OARSEG_DICOMWEB_PASSWORD, or ~/.netrc, whichever is there first; never from the command line: others can see it."""


def add_trust(parser: argparse.ArgumentParser) -> None:
    """Options beside the URL."""
    parser.add_argument("--ca-bundle", metavar="PEM", help="trust these authorities' certificates of DICOMweb servers")
    parser.add_argument("--token-file", metavar="FILE", help="file with a bearer token for the DICOMweb server")


def add_query(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose series of a server."""
    parser.add_argument(
        "--query", metavar="KEY=VALUE", action="append",
        help="only series that fit: DICOM keyword and value as in QIDO-RS, repeatable; all: every CT of the server",
    )  # fmt: skip
    parser.add_argument("--limit", type=int, metavar="N", help="at most N series of the server")


def parse_query(given: list[str] | None) -> dict[str, str]:
    """Return ``["StudyDate=20260101-"]`` as a mapping; ["all"] is empty. Raises ConfigError, also for none."""
    if not given:
        raise ConfigError("--dicomweb needs --query KEY=VALUE, or --query all for every CT series of the server")
    query: dict[str, str] = {}
    for text in given if given != ["all"] else ():
        key, sign, value = (part.strip() for part in text.partition("="))
        if not (key and sign and value):
            example = "such as StudyDate=20260101-20260131, or all alone"
            raise ConfigError(f"--query {text!r}; expected KEY=VALUE, {example}")
        if key in query:
            raise ConfigError(f"--query names {key} twice; QIDO-RS takes one value of each")
        query[key] = value
    return query


def make_server(args: argparse.Namespace, url: str) -> Server:
    """The server, with a warning where it is not safe to talk to. Raises ConfigError."""
    from oarseg.dicomweb import Server

    server = Server(url, args.ca_bundle, args.token_file)
    if server.risk:
        print(f"oarseg: warning: {server.risk}", file=sys.stderr, flush=True)
    return server
