"""``oarseg organs``: the organ table."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from oarseg.sites import load_site

NAME = "organs"
HELP = "list the organs that can be contoured"
ORDER = 30
EXAMPLES = """  oarseg organs
  oarseg organs --json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``oarseg organs``."""
    parser.add_argument("--site", default="head_neck", help="body site, or the path of its JSON table")
    parser.add_argument("--json", action="store_true", help="the whole table as JSON")


def run(args: argparse.Namespace) -> int:
    """Print the table. Raises ConfigError for an unknown site."""
    site = load_site(args.site)
    if args.json:
        print(json.dumps([asdict(organ) for organ in site.organs], indent=2))
        return 0
    print(f"{'label':>5}  {'key':<20}{'TG-263 name':<16}{'colour':<10}usual volume")
    for organ in site.organs:
        low, high = organ.volume_cm3
        color = "#{:02x}{:02x}{:02x}".format(*organ.color)
        print(f"{organ.value:>5}  {organ.key:<20}{organ.name:<16}{color:<10}{low:g} to {high:g} cm3")
    return 0
