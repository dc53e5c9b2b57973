"""``oarseg organs``: the organ table."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict

from oarseg.bundles import FOLDER
from oarseg.checksum import has_weights
from oarseg.errors import ConfigError
from oarseg.sites import Organ, Site, load_site
from oarseg.sites.codes import segment_codes

EXAMPLES = """  oarseg organs
  oarseg organs --json
  oarseg organs --site thorax
  oarseg organs --site my_site.json       checks a table of your own
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``oarseg organs``."""
    parser.add_argument("--site", default="head_neck", help="body site, or the path of its JSON table")
    parser.add_argument("--json", action="store_true", help="the whole table as JSON")


def run(args: argparse.Namespace) -> int:
    """Print the table. Raises ConfigError for an unknown site."""
    site = load_site(args.site)
    if args.json:
        print(json.dumps([asdict(organ) | {"snomed": _codes(organ)} for organ in site.organs], indent=2))
        return 0
    print(f"{'label':>5}  {'key':<20}{'TG-263 name':<16}{'colour':<10}usual volume")
    for organ in site.organs:
        low, high = organ.volume_cm3
        color = "#{:02x}{:02x}{:02x}".format(*organ.color)
        print(f"{organ.value:>5}  {organ.key:<20}{organ.name:<16}{color:<10}{low:g} to {high:g} cm3")
    if not _has_weights(site):
        print(
            f"oarseg: note: site {site.site} has no weights yet: train its networks first (docs/new-site.md); "
            "head_neck has weights",
            file=sys.stderr,
        )
    return 0


def _codes(organ: Organ) -> dict | None:
    try:
        return asdict(segment_codes(organ.name))
    except ConfigError:  # an organ of a table of one's own
        return None


def _has_weights(site: Site) -> bool:
    return has_weights(FOLDER / f"{site.prefix}_two_stage")
