"""``oarseg convert``: public sets, nnU-Net folders and clinical exports as data sets to train on and score against."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from oarseg.text import printable

if TYPE_CHECKING:
    from oarseg.datasets.convert import Conversion, Plan
    from oarseg.sites import Site

FAILED, INTERRUPTED = 1, 130
SETS = ("pddca", "deepmind", "han-seg", "segrap", "structseg", "openkbp", "nnunet", "dicom")
EXAMPLES = """  oarseg convert pddca downloads/pddca data/pddca
  oarseg convert openkbp open-kbp/provided-data data/openkbp --validation 0.2 --seed 3
  oarseg convert dicom export data/clinic --dry-run --write-names names.json
      one sub-folder a patient, with a CT and an RTSTRUCT; shows which folder becomes which case, and which names are
      organs; names.json has all names found, those that are no organ with null: edit it, and give it back
  oarseg convert dicom export data/clinic --names names.json
      names.json: {"Medulla": "brainstem", "Globe Lt": "Eye_L", "Parotid_L old": null}; null: pass over

written to DST: dataset.json (cases by section, what each labels, licence, source), images/*.nii.gz, labels/*.nii.gz and
conversion.json. The same command goes on where a run stopped, and converts again what has changed. A case that cannot
be converted is reported and left out; the exit code is then 1. Where organs overlap, the smaller one has the voxel.
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
        "--names", type=Path, metavar="MAP.json",
        help="further names of organs (nnunet, dicom): name to organ key or TG-263 name",
    )  # fmt: skip
    parser.add_argument(
        "--write-names", type=Path, metavar="MAP.json", help="write all names found as such a map, to edit"
    )
    parser.add_argument(
        "--map", type=Path, metavar="FILE", help="which number is whose (dicom); default: DST.map.json beside DST"
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would be converted; convert nothing")
    parser.add_argument("--site", default="head_neck", help="body site, or the path of its JSON table")
    parser.add_argument("-q", "--quiet", action="store_true", help="say nothing but notes and errors")


def run(args: argparse.Namespace) -> int:
    """Convert, and print what was found. Returns 1 where a case failed. Raises OarsegError."""
    from oarseg.datasets.convert import plan
    from oarseg.sites import load_site

    site = load_site(args.site)
    work = plan(
        args.set, args.source, args.out, site,
        seed=args.seed, validation=args.validation, names=args.names, numbers=args.map,
    )  # fmt: skip
    if not args.quiet or args.dry_run:
        print("\n".join(_listed(work, site)), flush=True)
    if args.write_names:
        _write_names(work, args.write_names)
    if args.dry_run:
        if folders := work.folders():
            print("\ncases (a folder's name may be a patient's):")
            print("\n".join(f"  {case}: {printable(folder)}" for case, folder in sorted(folders.items())), flush=True)
        _print_failed(work.listing.refused)
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
    _print_failed(outcome.failed)
    if not quiet:
        print("\n".join(_converted(work, outcome, site)))
    return FAILED if outcome.failed else 0


def _print_failed(failed: dict[str, str]) -> None:
    for case, reason in failed.items():
        print(f"oarseg: {case} left out: {reason}", file=sys.stderr)


def _write_names(work: Plan, path: Path) -> None:
    """Write the names found as a map. Raises OutputError where there is a file: somebody may have edited it."""
    from oarseg.errors import ConfigError, OutputError
    from oarseg.files import write_text

    if not work.data_set.named:
        raise ConfigError("this set has names of its own; leave out --write-names")
    if path.exists():
        raise OutputError(f"{path} exists already; give another file for the names")
    names = work.suggested_names()
    write_text(path, json.dumps(names, indent=1, ensure_ascii=False) + "\n")
    unknown = sum(key is None for key in names.values())
    print(f"\n{len(names)} names in {path}, {unknown} of them null: edit it, and give it back by --names {path}")


def _listed(work: Plan, site: Site) -> list[str]:
    """Return lines on what the folder holds: cases, names that are organs, names that are none."""
    listing = work.listing
    lines = [f"{work.data_set.title}: {len(listing.cases)} case(s), {len(work.todo)} to convert"]
    lines += [f"licence: {work.data_set.licence}", f"source: {work.data_set.source}", "", "recognised (cases):"]
    for (name, key), count in sorted(listing.known.items(), key=lambda row: (site.values[row[0][1]], row[0][0])):
        lines.append(f"  {name} -> {site.organ(key).name} ({key}): {count}")
    lines += ["", "not recognised, left out (cases):"]
    lines += [f"  {name}: {count}" for name, count in sorted(listing.unknown.items())] or ["  none"]
    return lines


def _converted(work: Plan, outcome: Conversion, site: Site) -> list[str]:
    """Return lines on what is in the data set now."""
    rows = [row for part in outcome.rows.values() for row in part]
    labelled = Counter(key for row in rows for key in row["labelled"])
    overlaps = [row["overlap_voxels"] for row in rows if row["overlap_voxels"]]
    sections = ", ".join(f"{part}: {len(found)}" for part, found in outcome.rows.items())
    lines = ["", f"cases in {work.state.folder / 'dataset.json'}: {sections}; left out: {len(outcome.failed)}"]
    lines.append("labelled: " + ", ".join(f"{key} {labelled[key]}" for key in site.values))
    lines.append(f"overlaps, given to the smaller organ: {sum(overlaps)} voxels in {len(overlaps)} case(s)")
    if work.numbers:
        lines.append(f"which number is whose: {work.numbers[1]}; keep it as patient data, apart from the data set")
    return lines
