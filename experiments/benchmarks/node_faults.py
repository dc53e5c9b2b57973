"""What ``oarseg serve`` loses and repeats when things go wrong: one fault a row, stored as JSON.

    python -m experiments.benchmarks.node_faults [--times 3] [--only NAME,NAME] [--parallel 1] [--results FILE]
    python -m experiments.benchmarks.reliability                         # docs/reliability.md from what is stored

Each trial runs the real command with the real networks (one organ) on a new copy of the embedded CT, with new UIDs, and
an archive to send to; the node is killed with SIGKILL where a row says so. Lost: slices that were acknowledged but that
no delivered RTSTRUCT refers to. Repeated: RTSTRUCTs of the same slices under another SOPInstanceUID. Rows that were
not chosen stay in the file as they are. Needs pip install 'oarseg[node]'; a row that cannot be tried here is left out,
with the reason on stderr. The row hour_down takes an hour.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from experiments.benchmarks import node_machine, node_peers
from experiments.benchmarks.made import made
from experiments.benchmarks.node_bench import Bench, running
from oarseg.files import write_json

ROWS = (*node_machine.ROWS, *node_peers.ROWS)
RESULTS = Path(__file__).parent / "results" / "node_faults.json"
PACKAGES = ("oarseg", "pynetdicom", "pydicom")


def trial(row: Callable[[Bench], None], hour: float) -> dict:
    """What one trial came to: slices acknowledged and lost, results repeated; or why the node failed."""
    began = time.monotonic()
    with running(hour) as made:
        try:
            row(made)
            failed = None
        except AssertionError as error:
            place = traceback.extract_tb(error.__traceback__)[1]
            failed = f"{' '.join(str(error).split())[:200]} ({place.line})"
        if made.process and made.process.poll() is None:
            made.kill()
        found = {
            "acknowledged": sum(map(len, made.acked.values())), "lost": made.lost(), "repeated": made.repeated(),
            "seconds": round(time.monotonic() - began, 1), "peak_mib": round(made.peak_mib),
        }  # fmt: skip
    return found | ({"failed": failed} if failed else {})


def store(path: Path, rows: dict[str, dict]) -> None:
    """Put rows beside, or in the place of, those that the file holds."""
    earlier = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else {}
    both = earlier | rows
    ordered = {row.__name__: both[row.__name__] for row in ROWS if row.__name__ in both}
    write_json(path, {"rows": ordered})


def run(row: Callable[[Bench], None], args: argparse.Namespace) -> dict | None:
    """All trials of a row; None where it cannot be tried here."""
    try:
        with ThreadPoolExecutor(args.parallel) as pool:
            trials = list(pool.map(lambda _: trial(row, args.hour), range(args.times)))
    except node_machine.NotHere as error:
        print(f"{row.__name__}: left out, {error}", file=sys.stderr, flush=True)
        return None
    return {"fault": row.__doc__, "made": made(PACKAGES), "trials": trials}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=3, help="trials of each fault (default: 3)")
    parser.add_argument("--only", metavar="A,B", help=f"of {', '.join(row.__name__ for row in ROWS)}")
    parser.add_argument("--skip", metavar="A,B", default="", help="all but these")
    parser.add_argument("--parallel", type=int, default=1, help="trials at the same time (default: 1)")
    parser.add_argument("--hour", type=float, default=3600, metavar="SECONDS", help="length of hour_down's hour")
    parser.add_argument("--seed", type=int, default=0, help="of the moments of chance")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="FILE", help=f"default: {RESULTS}")
    args = parser.parse_args()
    random.seed(args.seed)
    known = [row.__name__ for row in ROWS]
    chosen = args.only.split(",") if args.only else known
    if unknown := {*chosen, *filter(None, args.skip.split(","))} - set(known):
        parser.error(f"no such fault: {', '.join(sorted(unknown))}; known: {', '.join(known)}")
    bad = 0
    for row in (r for r in ROWS if r.__name__ in chosen and r.__name__ not in args.skip.split(",")):
        found = run(row, args)
        if found is None:
            continue
        store(args.results, {row.__name__: found})
        trials = found["trials"]
        wrong = [one for one in trials if one["lost"] or one["repeated"] or "failed" in one]
        bad += len(wrong)
        said = f"{sum(one['acknowledged'] for one in trials)} acknowledged, {len(wrong)} of {len(trials)} trials wrong"
        print(f"{row.__name__}: {said}, {sum(one['seconds'] for one in trials):.0f} s", file=sys.stderr, flush=True)
        for one in wrong:
            print(f"  {one}", file=sys.stderr, flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
