"""``oarseg bundles``: render the bundles from the organ table, and put weights into them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

NAME = "bundles"
HELP = "render the bundles from the organ table (sync), or put trained weights into them (weights)"
ORDER = 40
EXAMPLES = """  oarseg bundles sync                 write what differs
  oarseg bundles sync --check         exit 1 if a bundle differs from the table and the templates
  oarseg bundles sync --site thorax --root my_bundles       another site's bundles (without weights)
  oarseg bundles sync --site my_site.json --root my_bundles
  oarseg bundles weights brainstem_ct_segmentation runs/brainstem_ct_segmentation/model.pt
  oarseg bundles weights eye_right_ct_segmentation runs/eye_left_ct_segmentation/model.pt --mirror
  oarseg bundles weights mandible_ct_segmentation runs/phase1/model.pt runs/phase2/model.pt   their mean
  oarseg bundles weights hn_ct_two_stage   put the other nine bundles' weights together
"""
SITE = "body site, or the path of its JSON table (default: head_neck)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    sync = actions.add_parser("sync", help="render all bundles of a site")
    sync.add_argument("--site", default="head_neck", help=SITE)
    sync.add_argument("--root", type=Path, help="folder of the bundles (default: the installed ones)")
    sync.add_argument("--check", action="store_true", help="write nothing; exit 1 where something differs")
    weights = actions.add_parser("weights", help="put weights into a bundle, half precision, and tell their checksum")
    weights.add_argument("bundle", help="name of the bundle")
    weights.add_argument(
        "checkpoints", nargs="*", metavar="CHECKPOINT", type=Path,
        help="trained weights, of several the mean; none for the two-stage bundle",
    )  # fmt: skip
    weights.add_argument("--mirror", action="store_true", help="flip the kernels: the other side's network")
    weights.add_argument("--site", default="head_neck", help=SITE)
    weights.add_argument("--root", type=Path, help="folder of the bundles (default: the installed ones)")


def run(args: argparse.Namespace) -> int:
    from oarseg.bundles import FOLDER
    from oarseg.sites import load_site

    site, root = load_site(args.site), args.root or FOLDER
    return _sync(site, root, args.check) if args.action == "sync" else _weights(site, root, args)


def _sync(site, root: Path, check: bool) -> int:
    from oarseg.bundles.render import sync, untrained

    changed = sync(site, root, check)
    for path in changed:
        print(("differs: " if check else "wrote: ") + path)
    if missing := untrained(site, root):
        print(f"without weights: {', '.join(missing)}")
    if not changed:
        print("the bundles are what the table and the templates say")
    elif check:
        print("run: oarseg bundles sync, with the same --site and --root", file=sys.stderr)
    return 1 if check and changed else 0


def _weights(site, root: Path, args: argparse.Namespace) -> int:
    from oarseg.bundles.render import sync
    from oarseg.bundles.spec import bundle_specs
    from oarseg.bundles.weights import install
    from oarseg.errors import ConfigError

    specs = {spec.name: spec for spec in bundle_specs(site)}
    if args.bundle not in specs:
        raise ConfigError(f"no bundle {args.bundle!r} in site {site.site}; it has: {', '.join(specs)}")
    checksum = install(specs[args.bundle], root, args.checkpoints, args.mirror)
    sync(site, root)
    print(f"{args.bundle}/models/model.pt  SHA-256 {checksum}")
    return 0
