"""Ablations and peers at one small budget: poolings, widths, losses, one stage or two, other networks.

    python -m experiments.ablation.run list
    python -m experiments.ablation.run run --dataset-dir DATASET              all rows; those done are skipped
    python -m experiments.ablation.run run pool2 pool4 --dataset-dir DATASET --jobs 2
    python -m experiments.ablation.run measure                                parameters, FLOPs, seconds, memory
    python -m experiments.ablation.run table                                  docs/results.md from what is stored
    python -m experiments.ablation.run table --check                          whether it is up to date

The rows stand in ``plan.json``. A run that was stopped goes on where it was; a row that fails is reported and
holds up no other.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from experiments.ablation.plan import PLAN, RESULTS, Plan, Row, load_plan
from oarseg.errors import OarsegError
from oarseg.evaluation.scores import read_scores, write_scores
from oarseg.files import write_json, write_text
from oarseg.sites import load_site

WORK_DIR = Path("runs/ablations")


def main(argv: Sequence[str] | None = None) -> int:
    """Status 0; 1 where a row failed or the report is out of date; 2 for what cannot be done at all."""
    args = _arguments(argv)
    try:
        return args.do(args)
    except OarsegError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--plan", type=Path, default=PLAN, help="JSON with the rows (default: the project's)")
    common.add_argument("--results", type=Path, default=RESULTS, help="folder of the stored results")
    verbs = parser.add_subparsers(required=True)
    run = verbs.add_parser("run", parents=[common], help="train, segment, score, store")
    run.add_argument("names", nargs="*", metavar="NAME", help="rows (default: all)")
    run.add_argument("--dataset-dir", type=Path, required=True, help="folder with dataset.json")
    run.add_argument("--work-dir", type=Path, default=WORK_DIR, help=f"for what is trained (default: {WORK_DIR})")
    run.add_argument("--bundles", type=Path, help="folder of the bundles (default: the installed ones)")
    run.add_argument("--device", help="cpu or cuda (default: CUDA where there is one)")
    run.add_argument("--jobs", type=int, default=1, help="rows side by side (default: 1)")
    run.add_argument("--threads", type=int, default=1, help="of each training (default: 1)")
    run.add_argument("--force", action="store_true", help="also rows that are done, from the beginning")
    run.set_defaults(do=_run)
    verbs.add_parser("list", parents=[common], help="the rows, and which are done").set_defaults(do=_list)
    measure = verbs.add_parser("measure", parents=[common], help="what a pass of each network costs")
    measure.add_argument("--repeats", type=int, default=5, help="timed passes of each network (default: 5)")
    measure.set_defaults(do=_measure)
    table = verbs.add_parser("table", parents=[common], help="write docs/results.md")
    table.add_argument("--out", type=Path, help="file to write (default: the project's docs/results.md)")
    table.add_argument("--check", action="store_true", help="write nothing; status 1 where it is out of date")
    table.set_defaults(do=_table)
    return parser.parse_args(argv)


def done(row: Row, results: Path) -> bool:
    """Whether a row's scores are stored, and were made by the plan as it stands."""
    try:
        facts = json.loads((results / f"{row.name}.json").read_text(encoding="utf-8"))
        rows = read_scores(results / f"{row.name}.csv")
        stored = {key: (part["bundle"], part["overrides"]) for key, part in facts["trainings"].items()}
        localizer = facts["localizer"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OarsegError):
        return False
    if not rows or localizer != row.localizer:
        return False
    return stored == {key: (part.bundle, dict(part.overrides)) for key, part in row.trainings.items()}


def _list(args: argparse.Namespace) -> int:
    for row in load_plan(args.plan).rows.values():
        steps = sum(int(part.overrides["steps"]) for part in row.trainings.values())
        print(f"{row.name:<16}{'done' if done(row, args.results) else 'open':<6}{steps:>6} steps  {row.title}")
    return 0


def _run(args: argparse.Namespace) -> int:
    from oarseg.bundles import FOLDER

    plan = load_plan(args.plan)
    args.bundles = args.bundles or FOLDER
    rows = [row for row in plan.chosen(args.names) if args.force or not done(row, args.results)]
    failed = {}

    def attempt(row: Row) -> None:
        try:
            run_row(row, plan, args)
        # Whatever went wrong in a row, down to a bundle that does not parse, is that row's.
        except Exception as error:
            failed[row.name] = f"{type(error).__name__}: {error}"
            print(f"{row.name} FAILED: {failed[row.name]}", file=sys.stderr, flush=True)

    with ThreadPoolExecutor(max(1, args.jobs)) as pool:
        # Rows that need another one's stage 1 come after all that do not.
        for late in (False, True):
            list(pool.map(attempt, [row for row in rows if bool(row.localizer) == late]))
    print(f"{len(rows) - len(failed)} of {len(rows)} rows run, {len(failed)} failed", flush=True)
    return 1 if failed else 0


def run_row(row: Row, plan: Plan, args: argparse.Namespace) -> None:
    """Train a row's networks, segment and score the validation cases, store the scores and the facts."""
    import torch

    from experiments.ablation.predict import scores
    from experiments.ablation.train import begin_anew, train, trained

    facts = {}
    if row.localizer:
        # Before the hours that the second stage takes.
        trained(plan.rows[row.localizer].trainings["localizer"], args.work_dir, args.bundles)
    for key, part in row.trainings.items():
        if args.force:
            begin_anew(part, args.work_dir)
        facts[key] = train(part, args.dataset_dir, args.work_dir, args.bundles, args.device, args.threads)
    torch.set_num_threads(args.threads)
    device = torch.device(args.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    found = []
    for number, case in enumerate(scores(row, plan, args.dataset_dir, args.work_dir, args.bundles, device), 1):
        found += case
        print(f"{row.name}: scored case {number}", flush=True)
    write_scores(args.results / f"{row.name}.csv", found)
    write_json(args.results / f"{row.name}.json", {"name": row.name, "localizer": row.localizer, "trainings": facts})
    print(f"{row.name}: stored", flush=True)


def _measure(args: argparse.Namespace) -> int:
    from experiments.ablation.measure import measure_all, measure_stage2

    stage2 = measure_stage2(load_site(), args.repeats)
    write_json(args.results / "measured.json", measure_all(load_plan(args.plan), args.plan, args.repeats) | stage2)
    return 0


def _table(args: argparse.Namespace) -> int:
    from experiments.ablation.page import REPORT, report

    out = args.out or REPORT
    text = report(load_plan(args.plan), args.results)
    if args.check:
        same = out.is_file() and out.read_text(encoding="utf-8") == text
        advice = "up to date" if same else "out of date; run: python -m experiments.ablation.run table"
        print(f"{out.name} is {advice}")
        return 0 if same else 1
    write_text(out, text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
