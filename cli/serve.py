"""``oarseg serve``: a DICOM node that contours the CTs that are sent to it."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from pathlib import Path

EXAMPLES = """  oarseg serve --example > node.toml
      settings with every key and its default, to be edited
  oarseg serve --check node.toml
      say what is wrong with the settings, or what the node would do
  oarseg serve node.toml
      run until SIGTERM or Ctrl-C; logs are lines of JSON on stderr
  oarseg serve --retry 4f1c09e2a7b35d60 node.toml
      try a dead letter again (series as in the logs); the node must not be running

Needs pynetdicom and prometheus_client: pip install 'oarseg[node]'. Set-up, guarantees and monitoring: docs/node.md.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``oarseg serve``."""
    parser.add_argument("config", metavar="CONFIG", type=Path, nargs="?", help="settings (TOML)")
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--check", action="store_true", help="check the settings, run nothing")
    action.add_argument("--example", action="store_true", help="print settings to begin with")
    action.add_argument("--retry", metavar="SERIES", help="try a dead letter again: a series, or all")
    parser.add_argument("-v", "--verbose", action="store_true", help="show where an error came from")


def run(args: argparse.Namespace) -> int:
    """Run the node until a signal. Raises OarsegError."""
    from oarseg.errors import ConfigError
    from oarseg.node.config import EXAMPLE, read_config
    from oarseg.requires import require

    if args.example:
        print(EXAMPLE.read_text(encoding="utf-8"), end="")
        return 0
    if not args.config:
        raise ConfigError("no settings given; oarseg serve --example prints some to begin with")
    config = read_config(args.config)
    require("oarseg serve", "pynetdicom", "prometheus_client")
    if args.check:
        return _check(config)
    if args.retry:
        return _retry(config, args.retry)
    return _serve(config)


def _serve(config) -> int:
    from oarseg.node import Node
    from oarseg.node.log import start_logging

    print("oarseg: research use only, not a medical device", file=sys.stderr, flush=True)
    start_logging()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    node = Node(config)
    try:
        node.start()
    except BaseException:
        node.spool.close()
        raise
    # With a limit, as a wait without one is not interrupted by signals everywhere.
    while not stop.wait(1.0):
        pass
    node.stop()
    return 0


def _check(config) -> int:
    from oarseg.node.receive import accepted_syntaxes
    from oarseg.node.server import client_context, server_context
    from oarseg.node.worker import make_segmenter

    tls = server_context(config.tls)
    if any(place.tls for place in config.destinations):
        client_context(config.tls)
    make_segmenter(config)
    node, allow = config.node, config.allow
    print(f"listens as {node.ae_title} on {node.address} port {node.port}, {'TLS' if tls else 'no TLS'}")
    print(f"takes CT images from {', '.join(allow.ae_titles)} at {', '.join(allow.peers)}, compressed as:")
    print("\n".join(f"  {syntax.name}" for syntax in accepted_syntaxes()))
    print(f"keeps them in {node.spool}")
    for place in config.destinations:
        secured = ", TLS" if place.tls else ""
        print(
            f"sends {', '.join(config.segment.formats)} to {place.ae_title} at {place.host} port {place.port}{secured}"
        )
    print("the settings are good, and the networks can be loaded")
    return 0


def _retry(config, series: str) -> int:
    from oarseg.errors import ConfigError
    from oarseg.node.database import DEAD_LETTERS
    from oarseg.node.dead_letter import restore
    from oarseg.node.spool import Spool

    spool = Spool(config.node.spool, config.limits)
    try:
        dead = {job.series for job in spool.state.jobs(*DEAD_LETTERS) if not job.cleared}
        chosen = sorted(key for key in dead if series == "all" or (len(series) >= 8 and key.startswith(series)))
        places = [place.name for place in config.destinations]
        tried = [key for key in chosen if spool.state.retry(key, places)]
        restore(spool)
    finally:
        spool.close()
    if not tried and series == "all":
        print("no dead letter waits: there is nothing to try again")
        return 0
    if not tried:
        raise ConfigError(f"{series}: no dead letter of that name; they are in {config.node.spool / 'dead-letter'}")
    print(f"{len(tried)} series will be tried again when the node starts")
    return 0
