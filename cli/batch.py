"""``oarseg batch``: a cohort of CTs, by workers that load the networks once."""

from __future__ import annotations

import argparse
import sys
from itertools import chain

from oarseg.cli.segment import comma_list, given_path, parse_formats

NAME = "batch"
HELP = "contour many CTs: a folder tree or a datalist"
ORDER = 15
FAILED, INTERRUPTED = 1, 130
EXAMPLES = """  oarseg batch export -o contours
      every CT series and every NIfTI or NRRD file below export/; the same command goes on where a run stopped
  oarseg batch data/dataset.json -o contours --workers 2 --organs brainstem,mandible
      the images of a datalist
  oarseg batch export -o contours --address auto
      on a running Ray cluster; all its machines must see both folders under the same paths

written to OUT: a folder a case, as oarseg segment writes it; cases.csv and index.html over all of them; cases.jsonl
and batch.json, by which the next run knows what is done. A case that cannot be contoured is listed with the reason and
tried again by the next run; the exit code is then 1. Needs Ray: pip install 'oarseg[cluster]'.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``oarseg batch``."""
    parser.add_argument("input", metavar="INPUT", type=given_path, help="folder tree, or datalist (.json)")
    parser.add_argument("-o", "--out", metavar="OUT", type=given_path, required=True, help="folder for the results")
    parser.add_argument("--workers", type=int, default=0, metavar="N", help="default: one a processor, or one a GPU")
    parser.add_argument(
        "--address", metavar="A", help="of a Ray cluster: auto, HOST:PORT (default: this machine alone)"
    )
    parser.add_argument("--organs", type=comma_list, metavar="A,B", help="only these (see oarseg organs)")
    parser.add_argument("--format", type=comma_list, metavar="A,B", help="as of oarseg segment")
    parser.add_argument("--device", default="auto", metavar="D", help="auto (default), cpu or cuda")
    parser.add_argument("--engine", default="auto", metavar="E", help="as of oarseg segment")
    parser.add_argument("--bundle", metavar="DIR", help="another two-stage bundle than the installed one")
    parser.add_argument("--keep-failed", action="store_true", help="do not try again what failed in an earlier run")
    parser.add_argument("-q", "--quiet", action="store_true", help="say nothing but errors")
    parser.add_argument("-v", "--verbose", action="store_true", help="show where an error came from")


def run(args: argparse.Namespace) -> int:
    """Contour the cohort. Returns 1 where a case failed. Raises OarsegError."""
    from oarseg.cohort import Options, find_cases, journal, run_cohort
    from oarseg.cohort.summary import write_summary
    from oarseg.errors import ConfigError
    from oarseg.inference.bundle import read_bundle
    from oarseg.inference.engines import check_engine

    if args.workers < 0:
        raise ConfigError(f"--workers {args.workers}; expected 1 or more")
    check_engine(args.engine)
    site = read_bundle(args.bundle).site
    for key in args.organs or ():
        site.organ(key)
    formats = parse_formats(args.format)
    options = Options(
        organs=args.organs, formats=formats, device=args.device, engine=args.engine, bundle=args.bundle,
        workers=args.workers, address=args.address, retry_failed=not args.keep_failed,
    )  # fmt: skip
    if not args.quiet:
        print("oarseg: research use only, not a medical device", file=sys.stderr, flush=True)
    notes: list[str] = []
    found = find_cases(args.input, notes.append, leave_out=args.out)
    # Before Ray is started: whether there is anything to do.
    first = next(found, None)
    if first is None:
        raise ConfigError("; ".join([f"there is no CT in {args.input}", *notes[:3]]))
    outcome = _with_progress(args, lambda tell: run_cohort(chain([first], found), args.input, args.out, options, tell))
    write_summary(args.out, journal.Journal(args.out).rows, site)
    for note in notes:
        print(f"oarseg: note: {note}", file=sys.stderr)
    if outcome is None:
        print("oarseg: interrupted; what is done is kept, and the same command goes on", file=sys.stderr)
        return INTERRUPTED
    if not args.quiet:
        rate = f", {3600 * outcome.done / outcome.seconds:.0f} an hour" if outcome.done else ""
        print(f"{outcome.done} contoured in {outcome.seconds:.0f} s{rate}; {outcome.skipped} looked at before")
        print(f"written to {args.out}: {journal.TABLE}, {journal.PAGE}, a folder a case")
    failed = [row for row in outcome.rows.values() if row["status"] == journal.FAILED]
    if failed:
        print(f"oarseg: {len(failed)} case(s) failed; the reasons stand in {args.out / journal.TABLE}", file=sys.stderr)
    return FAILED if failed else 0


def _with_progress(args: argparse.Namespace, work):
    """The outcome of ``work``, with a bar while it runs; None where it was interrupted."""
    from tqdm import tqdm

    with tqdm(unit="case", disable=args.quiet or None) as bar:

        def tell(outcome) -> None:
            bar.set_postfix_str(f"{outcome.failed} failed" if outcome.failed else "", refresh=False)
            bar.update(outcome.done + outcome.failed - bar.n)

        try:
            return work(tell)
        except KeyboardInterrupt:
            return None
