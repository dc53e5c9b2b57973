"""``oarseg evaluate``: predictions against references, or two evaluations against each other."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from oarseg.cli.segment import comma_list
from oarseg.errors import ConfigError
from oarseg.text import printable

EXAMPLES = """  oarseg evaluate contours experts -o scores
      contours/: <case>.nii.gz, <case>_seg.nii.gz (as the bundles write), <case>/segmentation.nii.gz or
      <case>/rtstruct.dcm (as oarseg segment writes); experts/: the same. Cases are matched by name.
  oarseg evaluate contours data/han_ct -o scores --section validation
      against a data set (dataset.json): its own labels; silver labels never score
  oarseg evaluate contours clinical -o scores --names names.json --images cts
      against RTSTRUCTs (<case>.dcm, or one in <case>/). ROI names are known as oarseg convert knows them ("Lt Parotid",
      "Parotis re", ...); names.json adds others: {"Medulla": "brainstem", "Parotid_L old": null}; null: pass over
  oarseg evaluate --compare scores_a scores_b -o comparison
      paired differences B - A with intervals and Wilcoxon tests

written to OUT: scores.csv (case and organ), cases.csv (case), summary.md, summary.csv, failures.md, box_plots.png,
worst.html (holds CT slices: keep it as patient data).

what counts: only organs that the reference labels. A data set says what that is; of other references, the organs that
occur in them (of RTSTRUCTs, that have contours) and those of --labelled. The rest of a prediction is not judged.
  missed     in the reference, not predicted: Dice and surface Dice 0, no distances (no infinity is averaged)
  spurious   predicted, labelled, but without a voxel in the reference: Dice and surface Dice 0, no distances.
             Without --labelled (or a data set) nobody can tell it from an organ that was not contoured
  absent     labelled, and on neither side: scores nothing
  swapped    a predicted organ that lies on its mirror twin's reference
"""
# What counts where nothing is given: None in the parsed options, so that --compare can tell.
SECTION, TOLERANCE_MM, WORST = "validation", 2.0, 12
# Options of scoring that comparing has no use for.
SCORING = ("section", "labelled", "names", "images", "tolerance_mm", "worst", "allow_missing")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``oarseg evaluate``."""
    parser.add_argument("predictions", metavar="PREDICTIONS", type=Path, nargs="?", help="folder of NIfTI or RTSTRUCT")
    parser.add_argument(
        "references", metavar="REFERENCES", type=Path, nargs="?", help="folder of NIfTI or RTSTRUCT, or a data set"
    )
    parser.add_argument("-o", "--out", metavar="OUT", type=Path, help="folder for the results")
    parser.add_argument("--compare", metavar=("A", "B"), type=Path, nargs=2, help="two OUT folders or scores.csv")
    parser.add_argument("--section", help=f"of a data set's dataset.json (default: {SECTION})")
    parser.add_argument(
        "--labelled", type=comma_list, metavar="A,B", help="organs that every reference labels if the patient has them"
    )
    parser.add_argument("--names", type=Path, metavar="MAP.json", help="further ROI names: name to organ or null")
    parser.add_argument("--images", type=Path, metavar="DIR", help="CTs by case name, for the pictures")
    parser.add_argument(
        "--tolerance-mm", type=float, metavar="MM", help=f"of the surface Dice (default: {TOLERANCE_MM:g})"
    )
    parser.add_argument("--worst", type=int, metavar="N", help=f"organs in worst.html (default: {WORST})")
    parser.add_argument("--allow-missing", action="store_true", help="score the cases that are on both sides")
    parser.add_argument("--overwrite", action="store_true", help="replace earlier results in OUT; other files stay")
    parser.add_argument("--site", default="head_neck", help="body site, or the path of its JSON table")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress, no table")


def run(args: argparse.Namespace) -> int:
    """Evaluate or compare. Raises OarsegError."""
    if args.compare:
        if args.predictions or args.references:
            raise ConfigError("--compare takes two evaluations and no further folders; leave out the others")
        _refuse_ignored(args)
        return _compare(args)
    if not (args.predictions and args.references and args.out):
        raise ConfigError("give PREDICTIONS, REFERENCES and -o OUT, or --compare A B; see oarseg evaluate --help")
    return _evaluate(args)


def _refuse_ignored(args: argparse.Namespace) -> None:
    """Raises ConfigError where an option is given that does nothing for ``--compare``: the scores are made already."""
    given = [name for name in SCORING if not any(getattr(args, name) is unset for unset in (None, False))]
    if args.overwrite and not args.out:
        given.append("overwrite")
    if given:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise ConfigError(f"--compare does not use {names}; leave out, or give to the evaluations that are compared")


def _evaluate(args: argparse.Namespace) -> int:
    from oarseg.evaluation.evaluate import NAMES, EvaluationJob, evaluate
    from oarseg.evaluation.tables import failures, summary_markdown
    from oarseg.sites import load_site

    site = load_site(args.site)
    job = EvaluationJob(
        predictions=args.predictions,
        references=args.references,
        out=args.out,
        section=args.section or SECTION,
        labelled=tuple(args.labelled or ()),
        names=args.names,
        images=args.images,
        tolerance_mm=TOLERANCE_MM if args.tolerance_mm is None else args.tolerance_mm,
        worst=WORST if args.worst is None else args.worst,
        allow_missing=args.allow_missing,
        overwrite=args.overwrite,
        quiet=args.quiet,
    )
    done = evaluate(job, site)
    for note in done.notes:
        print(f"oarseg: note: {printable(note)}", file=sys.stderr)
    if not args.quiet:
        print(summary_markdown(done.summary, done.cases, job.tolerance_mm, site))
        print(f"{len(failures(done.rows))} organ(s) to look at, see failures.md")
        print(f"written to {printable(str(args.out))}: {', '.join(n for n in NAMES if (args.out / n).exists())}")
    return 0


def _compare(args: argparse.Namespace) -> int:
    from oarseg.evaluation.compare import compare, comparison_csv, comparison_markdown, load
    from oarseg.evaluation.evaluate import compare_to
    from oarseg.sites import load_site

    site = load_site(args.site)
    comparison = compare(*(load(place) for place in args.compare), site)
    names = [printable("/".join(place.resolve().parts[-2:])) for place in args.compare]
    markdown = f"A: {names[0]}, B: {names[1]}\n\n{comparison_markdown(comparison, site)}"
    compare_to(args.out, markdown, comparison_csv(comparison), args.overwrite)
    if not args.quiet:
        print(markdown, end="")
    return 0
