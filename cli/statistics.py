"""``oarseg statistics``: measure mean and standard deviation of the intensities that a network trains on."""

from __future__ import annotations

import argparse
from pathlib import Path

EXAMPLES = """  oarseg statistics brainstem_ct_segmentation --dataset-dir data/han_ct
      print them
  oarseg statistics hn_ct_localizer --dataset-dir data/han_ct -o statistics.json
      for a training: python -m monai.bundle run training ... --statistics statistics.json
  oarseg statistics my_ct_localizer --dataset-dir data/my_ct --root my_bundles

Nothing but the file is written: a training stores mean and standard deviation with the weights.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``oarseg statistics``."""
    parser.add_argument("bundle", help="name of the localizer's or an organ's bundle")
    parser.add_argument("--dataset-dir", type=Path, required=True, help="folder with dataset.json")
    parser.add_argument("-o", "--out", type=Path, metavar="FILE", help="write them to this JSON file, for --statistics")
    parser.add_argument("--draws", type=int, default=100, help="augmented samples N of eqs 3-3 and 3-4 (default: 100)")
    parser.add_argument("--root", type=Path, help="folder of the bundles (default: the installed ones)")


def run(args: argparse.Namespace) -> int:
    """Measure, print and, with -o, write. Raises OarsegError."""
    from oarseg.bundle_runs import last_line
    from oarseg.bundles import FOLDER
    from oarseg.errors import ConfigError
    from oarseg.requires import require

    folder = (args.root or FOLDER) / args.bundle
    if not (folder / "configs" / "train.json").is_file():
        raise ConfigError(f"no bundle {args.bundle} in {folder.parent}; see oarseg bundles where, or give --root")
    require("oarseg statistics", "torch", "monai")
    from oarseg.training.statistics import bundle_statistics, save_statistics

    try:
        mean, std = bundle_statistics(str(folder), str(args.dataset_dir), args.draws)
    except RuntimeError as error:  # MONAI's, around what oarseg says of the data set
        if line := last_line(error):
            raise ConfigError(line) from error
        raise
    print(f"{args.bundle}: mean {mean}, std {std} over {args.draws} draws")
    if args.out:
        save_statistics(args.out, mean, std, args.bundle, args.draws)
        print(f"written to {args.out}")
    return 0
