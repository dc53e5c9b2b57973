"""``oarseg convert``: public sets, nnU-Net folders and clinical exports as data sets to train on and score against."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from oarseg.datasets.convert import Outcome, Plan
    from oarseg.sites import Site

NAME = "convert"
HELP = "convert a public set, an nnU-Net folder or DICOM with structure sets to a data set"
ORDER = 45
FAILED, INTERRUPTED = 1, 130
SETS = ("pddca", "deepmind", "han-seg", "segrap", "structseg", "openkbp", "nnunet", "dicom")
EXAMPLES = """  oarseg convert pddca downloads/pddca data/pddca
  oarseg convert openkbp open-kbp/provided-data data/openkbp --validation 0.2 --seed 3
  oarseg convert dicom export data/clinic --dry-run
      one sub-folder a patient, with a CT and an RTSTRUCT; shows which names are organs, and which are not
  oarseg convert dicom export data/clinic --names names.json
      names.json: {"Medulla": "brainstem", "Globe Lt": "eye_left", "Parotid_L old": null}; null: pass over

written to DST: dataset.json (cases by section, what each labels, licence, source), images/*.nii.gz, labels/*.nii.gz and
conversion.json. The same command goes on where a run stopped, and converts again what has changed. A case that cannot
be converted is told of and left out; the exit code is then 1. Where organs overlap, the smaller one has the voxel.
Cases of dicom are numbered; which number is whose stands in DST.map.json beside DST: keep it as patient data.
Layouts, names, download pages and licences of the sets: docs/datasets.md
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``oarseg convert``."""
    parser.add_argument("set", metavar="SET", choices=SETS, help=", ".join(SETS))
    parser.add_argument("source", metavar="SRC", type=Path, help="the set's folder, unpacked")
    parser.add_argument("out", metavar="DST", type=Path, help="folder for the data set")
    parser.add_argument("--seed", type=int, default=0, help="of the split by patient (default: 0)")
    parser.add_argument(
        "--validation", type=float, default=0.15, metavar="SHARE", help="of the patients, on average (default: 0.15)"
    )
    parser.add_argument(
        "--names", type=Path, metavar="MAP.json", help="further names of organs (nnunet, dicom): name to organ key"
    )
    parser.add_argument(
        "--map", type=Path, metavar="FILE", help="which number is whose (dicom); default: DST.map.json beside DST"
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would be converted; write nothing")
    parser.add_argument("--site", default="head_neck", help="body site, or the path of its JSON table")
    parser.add_argument("-q", "--quiet", action="store_true", help="say nothing but notes and errors")


def run(args: argparse.Namespace) -> int:
    """Convert, and tell what was found. Returns 1 where a case failed. Raises OarsegError."""
    from oarseg.datasets.convert import plan
    from oarseg.sites import load_site

    site = load_site(args.site)
    work = plan(
        args.set, args.source, args.out, site,
        seed=args.seed, validation=args.validation, names=args.names, numbers=args.map,
    )  # fmt: skip
    if not args.quiet or args.dry_run:
        print("\n".join(_listed(work, site)), flush=True)
    if args.dry_run:
        _tell_failed(work.listing.refused)
        return FAILED if work.listing.refused else 0
    return _convert(work, args.quiet, site)


def _convert(work: Plan, quiet: bool, site: Site) -> int:
    from tqdm import tqdm

    from oarseg.datasets.convert import convert

    with tqdm(total=len(work.todo), unit="case", disable=quiet or not work.todo) as bar:
        try:
            outcome = convert(work, lambda name: bar.update())
        except KeyboardInterrupt:
            bar.close()
            print("oarseg: interrupted; what is done is kept, and the same command goes on", file=sys.stderr)
            return INTERRUPTED
    for note in outcome.notes:
        print(f"oarseg: note: {note}", file=sys.stderr)
    _tell_failed(outcome.failed)
    if not quiet:
        print("\n".join(_converted(work, outcome, site)))
    return FAILED if outcome.failed else 0


def _tell_failed(failed: dict[str, str]) -> None:
    for case, reason in failed.items():
        print(f"oarseg: {case} left out: {reason}", file=sys.stderr)


def _listed(work: Plan, site: Site) -> list[str]:
    """What the folder holds: cases, names that are organs, names that are none."""
    listing = work.listing
    lines = [f"{work.data_set.title}: {len(listing.cases)} case(s), {len(work.todo)} to convert"]
    lines += [f"licence: {work.data_set.licence}", f"source: {work.data_set.source}", "", "recognised (cases):"]
    for (name, key), count in sorted(listing.known.items(), key=lambda row: (site.values[row[0][1]], row[0][0])):
        lines.append(f"  {name} -> {site.organ(key).name} ({key}): {count}")
    lines += ["", "not recognised, left out (cases):"]
    lines += [f"  {name}: {count}" for name, count in sorted(listing.unknown.items())] or ["  none"]
    return lines


def _converted(work: Plan, outcome: Outcome, site: Site) -> list[str]:
    """What is in the data set now."""
    rows = [row for part in outcome.rows.values() for row in part]
    labelled = Counter(key for row in rows for key in row["labelled"])
    overlaps = [row["overlap_voxels"] for row in rows if row["overlap_voxels"]]
    told = ", ".join(f"{part}: {len(found)}" for part, found in outcome.rows.items())
    lines = ["", f"cases in {work.state.folder / 'dataset.json'}: {told}; left out: {len(outcome.failed)}"]
    lines.append("labelled: " + ", ".join(f"{key} {labelled[key]}" for key in site.values))
    lines.append(f"overlaps, given to the smaller organ: {sum(overlaps)} voxels in {len(overlaps)} case(s)")
    if work.numbers:
        lines.append(f"which number is whose: {work.numbers[1]}; keep it as patient data, apart from the data set")
    return lines
