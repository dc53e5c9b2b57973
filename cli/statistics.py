"""``oarseg statistics``: measure mean and standard deviation of what a network trains on, and write them down."""

from __future__ import annotations

import argparse
from pathlib import Path

NAME = "statistics"
HELP = "measure the intensity statistics of training samples and write them into the organ table and the bundles"
ORDER = 50
EXAMPLES = """  oarseg statistics brainstem_ct_segmentation --dataset-dir data/han_ct
  oarseg statistics hn_ct_localizer --dataset-dir data/han_ct --draws 20 --dry-run
  oarseg statistics my_ct_localizer --dataset-dir data/my_ct --site my_site.json --root my_bundles
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", help="name of the localizer's or an organ's bundle")
    parser.add_argument("--dataset-dir", type=Path, required=True, help="folder with dataset.json")
    parser.add_argument("--draws", type=int, default=100, help="augmented samples N of eqs 3-3 and 3-4 (default: 100)")
    parser.add_argument("--dry-run", action="store_true", help="print them, write nothing")
    parser.add_argument("--site", default="head_neck", help="body site, or the path of its JSON table: it is changed")
    parser.add_argument("--root", type=Path, help="folder of the bundles (default: the installed ones)")


def run(args: argparse.Namespace) -> int:
    from oarseg.bundles import FOLDER
    from oarseg.bundles.render import sync
    from oarseg.bundles.spec import bundle_specs
    from oarseg.errors import ConfigError
    from oarseg.sites import load_site
    from oarseg.sites.edit import write_statistics
    from oarseg.training.statistics import bundle_statistics

    site, root = load_site(args.site), args.root or FOLDER
    specs = {spec.name: spec for spec in bundle_specs(site) if spec.kind != "two_stage"}
    if args.bundle not in specs:
        raise ConfigError(f"no bundle {args.bundle!r} with statistics of its own; there are: {', '.join(specs)}")
    if not (root / args.bundle).is_dir():
        raise ConfigError(f"no bundle {args.bundle} in {root}; run oarseg bundles sync with the same --site and --root")
    mean, std = bundle_statistics(str(root / args.bundle), str(args.dataset_dir), args.draws)
    print(f"{args.bundle}: mean {mean}, std {std} over {args.draws} draws")
    if not args.dry_run:
        organ = specs[args.bundle].organ
        rows = write_statistics(site.path, organ.key if organ else "localizer", mean, std)
        changed = sync(load_site(args.site), root)
        print("weights trained with other statistics no longer fit: train these networks again")
        print(f"written for {', '.join(rows)}; {len(changed)} bundle files changed")
    return 0
