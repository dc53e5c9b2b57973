"""How well stage 1 places the boxes, and what a misplaced box costs.

    python -m experiments.localization.run coverage DATASET_DIR   do the boxes hold the organs? both sections
    python -m experiments.localization.run margins                margins proposed from the stored coverage
    python -m experiments.localization.run shift DATASET_DIR      Dice of stage 2 in shifted boxes
    python -m experiments.localization.run figure                 docs/localization.png and .md from what is stored

Silver labels take part in the training section only. coverage and shift can be stopped and started again: what they
measured with the same weights and the same organ table lies beside their result until it is whole.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.localization import store
from oarseg.errors import OarsegError, OutputError
from oarseg.sites import load_site

if TYPE_CHECKING:
    from oarseg.inference import Pipeline

SECTIONS = ("validation", "training")
DOCS = Path(__file__).resolve().parents[2] / "docs"


def run_coverage(args: argparse.Namespace) -> int:
    """Measure every box and store a row for each."""
    from experiments.localization.coverage import case_name, coverage_rows, section_cases
    from experiments.localization.page import coverage_table, tightest_table
    from oarseg.inference import Pipeline

    sections = {section: section_cases(args.dataset, section) for section in args.section or SECTIONS}
    pipeline = Pipeline(device=args.device, engine="torch")
    todo = {
        (section, case_name(case)): partial(coverage_rows, pipeline, case, section, silver)
        for section, cases in sections.items()
        for case, silver in cases
    }
    rows = _measure(todo, args.out, store.read_boxes, lambda row: (row.section, row.case), pipeline)
    print(coverage_table(rows, pipeline.site), tightest_table(rows, pipeline.site), sep="\n\n")
    return 0


def run_margins(args: argparse.Namespace) -> int:
    """Print the proposal. The site table is not touched: the networks were trained with its margins."""
    from experiments.localization.margins import margins_table

    site = load_site()
    print(margins_table(store.read_boxes(args.boxes, site), site))
    return 0


def run_shift(args: argparse.Namespace) -> int:
    """Shift every box every way and store a row for each."""
    from experiments.localization.coverage import case_name, section_cases
    from experiments.localization.page import shift_table
    from experiments.localization.shift import shift_rows
    from oarseg.inference import Pipeline

    cases = section_cases(args.dataset, args.section)
    pipeline = Pipeline(device=args.device, engine="torch")
    todo = {case_name(case): partial(shift_rows, pipeline, case) for case, _ in cases}
    rows = _measure(todo, args.out, store.read_shifts, lambda row: row.case, pipeline)
    print(shift_table(rows, pipeline.site))
    return 0


def run_figure(args: argparse.Namespace) -> int:
    """Draw the picture and write the page, or only compare the page."""
    from experiments.localization.figure import write_figure
    from experiments.localization.page import page

    site = load_site()
    boxes, shifts = store.read_boxes(args.boxes, site), store.read_shifts(args.shifts, site)
    text = page(boxes, shifts, site)
    target = args.docs / "localization.md"
    if args.check:
        same = target.is_file() and target.read_text(encoding="utf-8") == text
        print(f"{target.name} {'is' if same else 'is not'} what the stored results say")
        return 0 if same else 1
    write_figure(args.docs / "localization.png", boxes, shifts, site)
    try:
        target.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"cannot write {target}: {error.strerror or error}") from error
    print(f"wrote localization.md and localization.png in {args.docs}")
    return 0


def _measure(todo: dict[Any, Callable], out: Path, read: Callable, key: Callable, pipeline: Pipeline) -> list:
    """Rows of each case of ``todo`` (a function by its key), stored after each case and at the end as ``out``."""
    from tqdm import tqdm

    from experiments.localization.coverage import weights_name

    unfinished = out.with_name(out.name + ".unfinished")
    try:
        rows = read(unfinished, pipeline.site)
        fits = store.checked_weights(rows, pipeline.site) == weights_name(pipeline)
    except OarsegError:  # none yet, or of other weights or margins: begin anew
        fits = False
    rows = [row for row in rows if key(row) in todo] if fits else []
    done = {key(row) for row in rows}
    for name in tqdm([name for name in todo if name not in done], desc="cases", disable=None):
        rows += todo[name]()
        store.write_rows(unfinished, rows)
    store.write_rows(out, rows)
    unfinished.unlink(missing_ok=True)
    return rows


def parser() -> argparse.ArgumentParser:
    """The four commands."""
    top = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = top.add_subparsers(dest="command", required=True)
    for name, run, out in (("coverage", run_coverage, store.BOXES), ("shift", run_shift, store.SHIFTS)):
        command = commands.add_parser(name, help=run.__doc__)
        command.add_argument("dataset", metavar="DATASET_DIR", help="folder with dataset.json")
        command.add_argument("--out", type=Path, default=out, help="CSV to write (default: the stored results)")
        command.add_argument("--device", default="auto")
        command.set_defaults(run=run)
        if name == "coverage":
            command.add_argument("--section", action="append", help="of the datalist; repeatable (default: both)")
        else:
            command.add_argument("--section", default="validation", help="of the datalist (default: validation)")
    for name, run in (("margins", run_margins), ("figure", run_figure)):
        command = commands.add_parser(name, help=run.__doc__)
        command.add_argument("--boxes", type=Path, default=store.BOXES, help="CSV of coverage")
        command.set_defaults(run=run)
        if name == "figure":
            command.add_argument("--shifts", type=Path, default=store.SHIFTS, help="CSV of shift")
            command.add_argument("--docs", type=Path, default=DOCS, help="folder to write to")
            command.add_argument("--check", action="store_true", help="write nothing; exit 1 if the page is old")
    return top


def main(argv: list[str] | None = None) -> int:
    args = parser().parse_args(argv)
    try:
        return args.run(args)
    except OarsegError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
