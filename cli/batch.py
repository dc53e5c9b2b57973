"""``oarseg batch``: a cohort of CTs, by workers that load the networks once."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from oarseg.cli._exit import DONE, INTERRUPTED
from oarseg.cli._server import CREDENTIALS, add_query, add_trust, make_server, parse_query
from oarseg.cli.segment import comma_list, given_path, parse_formats
from oarseg.errors import ConfigError, OarsegError

if TYPE_CHECKING:
    from oarseg.cohort import Case, Options, Outcome
    from oarseg.dicomweb import Server
    from oarseg.sites import Site

FAILED = 1
EXAMPLES = f"""  oarseg batch export -o contours
      every CT series and every NIfTI or NRRD file below export/; repeat the command to continue a stopped run
  oarseg batch data/dataset.json -o contours --workers 2 --organs brainstem,mandible
      the images of a datalist
  oarseg batch export -o contours --address auto
      on a running Ray cluster; all its machines must see both folders under the same paths
  oarseg batch --dicomweb https://pacs.example.org/dicom-web --query StudyDate=20260101-20260131 -o contours --store
      the CT series of a month, each fetched when its turn comes; --store puts its RTSTRUCT into its study

written to OUT: a folder for each case, as oarseg segment writes it; cases.csv and index.html over all of them;
cases.jsonl and batch.json, from which the next run knows what is done. A case that cannot be contoured is listed with
the reason and tried again by the next run; the exit code is then 1. Needs Ray: pip install 'oarseg[cluster]'; with
--dicomweb 'oarseg[cluster,dicomweb]'.

{CREDENTIALS}
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``oarseg batch``."""
    parser.add_argument("input", metavar="INPUT", nargs="?", type=given_path, help="folder tree, or datalist (.json)")
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
    parser.add_argument("--dicomweb", metavar="URL", help="the CT series of this DICOMweb server, instead of INPUT")
    add_query(parser)
    parser.add_argument("--store", action="store_true", help="store each RTSTRUCT (and DICOM SEG) on the server")
    add_trust(parser)
    parser.add_argument("--keep-failed", action="store_true", help="do not try again what failed in an earlier run")
    parser.add_argument("-q", "--quiet", action="store_true", help="say nothing but errors")
    parser.add_argument("-v", "--verbose", action="store_true", help="show where an error came from")


def run(args: argparse.Namespace) -> int:
    """Contour the cohort; returns 1 where a case failed. Raises OarsegError."""
    from oarseg.cohort import journal, run_cohort
    from oarseg.cohort.summary import write_summary

    site = _checked(args)
    server = make_server(args, args.dicomweb) if args.dicomweb is not None else None
    options = _options(args, server)
    if not args.quiet:
        print("oarseg: research use only, not a medical device", file=sys.stderr, flush=True)
    notes: list[str] = []
    source, found = _cases(args, server, notes)
    # Before Ray is started: whether there is anything to do.
    first = next(found, None)
    if first is None:
        where = f"{server.url} that fits the query" if server else args.input
        raise ConfigError("; ".join([f"there is no CT in {where}", *notes[:3]]))
    broken: list[OarsegError] = []
    cases = chain([first], _until(found, broken))
    outcome = _with_progress(args, lambda report: run_cohort(cases, source, args.out, options, report))
    write_summary(args.out, journal.Journal(args.out).rows, site)
    for note in notes:
        print(f"oarseg: note: {note}", file=sys.stderr)
    if outcome is None:
        print("oarseg: interrupted; finished cases are kept, and the same command continues", file=sys.stderr)
        return INTERRUPTED
    return _report(args, outcome, broken)


def _checked(args: argparse.Namespace) -> Site:
    """Return the site of the bundle, once all options fit. Raises ConfigError before any work."""
    from oarseg.inference.bundle import read_bundle
    from oarseg.inference.engines import check_device, check_engine

    if args.workers < 0:
        raise ConfigError(f"--workers {args.workers}; expected 1 or more")
    check_engine(args.engine)
    check_device(args.device)
    site = read_bundle(args.bundle).site
    args.organs = [site.organ(name).key for name in args.organs] if args.organs else None
    check_source(args)
    return site


def _options(args: argparse.Namespace, server: Server | None) -> Options:
    from oarseg.cohort import Options

    formats = parse_formats(args.format)
    if args.store:
        from oarseg.dicomweb.job import check_storable

        check_storable(formats)
    return Options(
        organs=args.organs, formats=formats, device=args.device, engine=args.engine, bundle=args.bundle,
        workers=args.workers, address=args.address, retry_failed=not args.keep_failed,
        store_on=server if args.store else None,
    )  # fmt: skip


def _report(args: argparse.Namespace, outcome: Outcome, broken: list[OarsegError]) -> int:
    """Print the result of a run; returns the exit code. Raises the error that ended the search for cases."""
    from oarseg.cohort import journal

    failed = sum(row["status"] == journal.FAILED for row in outcome.rows.values())
    if not args.quiet:
        rate = f", {3600 * outcome.done / outcome.seconds:.0f} an hour" if outcome.done else ""
        print(f"{outcome.done} contoured in {outcome.seconds:.0f} s{rate}; {outcome.skipped} done in earlier runs")
        folders = ", a folder for each case" if failed < len(outcome.rows) else ""
        print(f"written to {args.out}: {journal.TABLE}, {journal.PAGE}{folders}")
    if broken:
        raise broken[0]
    if failed:
        print(f"oarseg: {failed} case(s) failed; the reasons are in {args.out / journal.TABLE}", file=sys.stderr)
    return FAILED if failed else DONE


def _until(found: Iterator[Case], broken: list[OarsegError]) -> Iterator[Case]:
    """Yield ``found`` up to an error, which is kept in ``broken`` until the summary is written."""
    try:
        yield from found
    except OarsegError as error:
        broken.append(error)


def check_source(args: argparse.Namespace) -> None:
    """Raise ConfigError unless exactly one source of CTs is named, and every option serves it."""
    if (args.input is None) == (args.dicomweb is None):
        raise ConfigError("give either INPUT, a folder tree or a datalist, or --dicomweb URL")
    if args.dicomweb is not None:
        parse_query(args.query)
    useless = [name for name in ("query", "limit", "store", "ca_bundle", "token_file") if getattr(args, name)]
    if args.dicomweb is None and useless:
        raise ConfigError(f"--{useless[0].replace('_', '-')} needs --dicomweb URL")


def _cases(args: argparse.Namespace, server: Server | None, notes: list[str]) -> tuple[str | Path, Iterator[Case]]:
    """Return the name of the batch's source, and its cases."""
    from oarseg.cohort import find_cases, find_remote_cases, source_of

    if server is None:
        return args.input, find_cases(args.input, notes.append, leave_out=args.out)
    query = parse_query(args.query)
    return source_of(server, query), iter(find_remote_cases(server, query, args.limit, notes.append))


def _with_progress(args: argparse.Namespace, work):
    """Return the outcome of ``work``, with a progress bar while it runs; None where it was interrupted."""
    from tqdm import tqdm

    with tqdm(unit="case", disable=args.quiet or None) as bar:

        def report(outcome: Outcome) -> None:
            bar.set_postfix_str(f"{outcome.failed} failed" if outcome.failed else "", refresh=False)
            bar.update(outcome.done + outcome.failed - bar.n)

        try:
            return work(report)
        except KeyboardInterrupt:
            return None
