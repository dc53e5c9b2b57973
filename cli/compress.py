"""``oarseg compress``: pack a bundle's networks into few levels, calibrate them for 8 bits, report on a chain."""

from __future__ import annotations

import argparse
from pathlib import Path

EXAMPLES = """  oarseg compress collection --bundle my_bundles/hn_ct_two_stage      pack all its networks
  oarseg compress calibrate data/han_ct --bundle my_bundles/hn_ct_two_stage
      then find the ranges of their activations on training cases; from then on CPUs run the packed networks in 8 bits
  oarseg compress collection --bundle DIR --localizer channel:63 --organs layer:31      other levels
  oarseg compress collection --bundle DIR --smaller runs/narrow/model.pt    a localizer of fewer channels in its place
  oarseg compress report runs/compress      write the report of a chain (python -m monai.bundle run compress) again

A step of a chain can take a network's place: copy its model.packed over models/compressed/NAME.packed, then calibrate.
"""
BUNDLE = "folder of a two-stage bundle, which is changed (default, in a checkout: its own)"
LEVELS = "how weights are rounded, and to how many levels (default: {})"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``oarseg compress``."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    collection = actions.add_parser("collection", help="pack every network of a two-stage bundle")
    for name, default in (("localizer", "channel:55"), ("organs", "channel:127")):
        collection.add_argument(f"--{name}", metavar="SCHEME:LEVELS", default=default, help=LEVELS.format(default))
    collection.add_argument("--smaller", metavar="FILE", type=Path, help="weights of a localizer of fewer channels")
    calibrate = actions.add_parser("calibrate", help="find the ranges of activations, by which networks run in 8 bits")
    calibrate.add_argument("dataset", type=Path, metavar="DATASET", help="folder with dataset.json")
    calibrate.add_argument("--cases", type=int, default=12, metavar="N", help="training cases (default: %(default)s)")
    for action in (collection, calibrate):
        action.add_argument("--bundle", type=Path, metavar="DIR", help=BUNDLE)
        action.add_argument("-q", "--quiet", action="store_true", help="no progress")
    report = actions.add_parser("report", help="write the report of a compression chain again")
    report.add_argument("folder", type=Path, metavar="FOLDER", help="output_dir of the chain")


def run(args: argparse.Namespace) -> int:
    """Run one action. Raises OarsegError."""
    return {"collection": _collection, "calibrate": _calibrate, "report": _report}[args.action](args)


def _collection(args: argparse.Namespace) -> int:
    from oarseg.cli._progress import Progress
    from oarseg.compression.collection import changeable_bundle, write_collection

    bundle = changeable_bundle(args.bundle)
    with Progress(1, args.quiet) as progress:
        sizes = write_collection(bundle, args.localizer, args.organs, args.smaller, progress)
    for name, size in sizes.items():
        print(f"{name}: {size / 1e6:.2f} MB")
    print(f"together {sum(sizes.values()) / 1e6:.2f} MB; next: oarseg compress calibrate DATASET --bundle {bundle}")
    return 0


def _calibrate(args: argparse.Namespace) -> int:
    from oarseg.cli._progress import Progress
    from oarseg.compression.calibrate import calibrate
    from oarseg.compression.collection import changeable_bundle

    bundle = changeable_bundle(args.bundle)
    with Progress(2, args.quiet) as progress:
        folder = calibrate(args.dataset, args.cases, bundle, progress)
    files = list(folder.iterdir())
    networks = sum(path.suffix == ".packed" for path in files)
    print(f"{folder}: {networks} networks, {sum(path.stat().st_size for path in files) / 1e6:.1f} MB, calibrated")
    return 0


def _report(args: argparse.Namespace) -> int:
    from oarseg.compression.report import write_report

    print(write_report(args.folder))
    return 0
