"""``oarseg batch``: a cohort of CTs, by workers that load the networks once."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from oarseg.cli._server import CREDENTIALS, add_trust, make_server
from oarseg.cli.segment import comma_list, given_path, parse_formats
from oarseg.errors import ConfigError, OarsegError

if TYPE_CHECKING:
    from oarseg.cohort import Case
    from oarseg.dicomweb import Server

NAME = "batch"
HELP = "contour many CTs: a folder tree, a datalist, or what a DICOMweb server has"
ORDER = 15
FAILED, INTERRUPTED = 1, 130
EXAMPLES = f"""  oarseg batch export -o contours
      every CT series and every NIfTI or NRRD file below export/; the same command goes on where a run stopped
  oarseg batch data/dataset.json -o contours --workers 2 --organs brainstem,mandible
      the images of a datalist
  oarseg batch export -o contours --address auto
      on a running Ray cluster; all its machines must see both folders under the same paths
  oarseg batch --dicomweb https://pacs.example.org/dicom-web --query StudyDate=20260101-20260131 -o contours --store
      the CT series of a month, each fetched when it is its turn, its RTSTRUCT stored in its study

written to OUT: a folder a case, as oarseg segment writes it; cases.csv and index.html over all of them; cases.jsonl
and batch.json, by which the next run knows what is done. A case that cannot be contoured is listed with the reason and
tried again by the next run; the exit code is then 1. Needs Ray: pip install 'oarseg[cluster]'; with --dicomweb
'oarseg[cluster,dicomweb]'.

{CREDENTIALS}
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``oarseg batch``."""
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
    parser.add_argument(
        "--query", metavar="KEY=VALUE", action="append",
        help="only series that fit: DICOM keyword and value as of QIDO-RS; may be given several times",
    )  # fmt: skip
    parser.add_argument("--limit", type=int, metavar="N", help="no more than N series of the server")
    parser.add_argument("--store", action="store_true", help="store each RTSTRUCT (and DICOM SEG) on the server")
    add_trust(parser)
    parser.add_argument("--keep-failed", action="store_true", help="do not try again what failed in an earlier run")
    parser.add_argument("-q", "--quiet", action="store_true", help="say nothing but errors")
    parser.add_argument("-v", "--verbose", action="store_true", help="show where an error came from")


def run(args: argparse.Namespace) -> int:
    """Contour the cohort. Returns 1 where a case failed. Raises OarsegError."""
    from oarseg.cohort import Options, journal, run_cohort
    from oarseg.cohort.summary import write_summary
    from oarseg.inference.bundle import read_bundle
    from oarseg.inference.engines import check_engine

    if args.workers < 0:
        raise ConfigError(f"--workers {args.workers}; expected 1 or more")
    check_engine(args.engine)
    site = read_bundle(args.bundle).site
    for key in args.organs or ():
        site.organ(key)
    formats = parse_formats(args.format)
    check_source(args)
    server = make_server(args, args.dicomweb) if args.dicomweb is not None else None
    if args.store:
        from oarseg.dicomweb.job import check_storable

        check_storable(formats)
    options = Options(
        organs=args.organs, formats=formats, device=args.device, engine=args.engine, bundle=args.bundle,
        workers=args.workers, address=args.address, retry_failed=not args.keep_failed,
        store_on=server if args.store else None,
    )  # fmt: skip
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
    outcome = _with_progress(args, lambda tell: run_cohort(cases, source, args.out, options, tell))
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
    if broken:
        raise broken[0]
    failed = [row for row in outcome.rows.values() if row["status"] == journal.FAILED]
    if failed:
        print(f"oarseg: {len(failed)} case(s) failed; the reasons stand in {args.out / journal.TABLE}", file=sys.stderr)
    return FAILED if failed else 0


def _until(found: Iterator[Case], broken: list[OarsegError]) -> Iterator[Case]:
    """``found``, ended by an error, which is told once what is at work is done and the summary written."""
    try:
        yield from found
    except OarsegError as error:
        broken.append(error)


def check_source(args: argparse.Namespace) -> None:
    """Raises ConfigError where it is not clear what is to be contoured, or an option is of no use there."""
    if (args.input is None) == (args.dicomweb is None):
        raise ConfigError("give either INPUT, a folder tree or a datalist, or --dicomweb URL")
    useless = [name for name in ("query", "limit", "store", "ca_bundle", "token_file") if getattr(args, name)]
    if args.dicomweb is None and useless:
        raise ConfigError(f"--{useless[0].replace('_', '-')} is of use with --dicomweb only")


def parse_query(given: list[str] | None) -> dict[str, str]:
    """``["StudyDate=20260101-"]`` as a mapping. Raises ConfigError."""
    query: dict[str, str] = {}
    for text in given or ():
        key, sign, value = (part.strip() for part in text.partition("="))
        if not (key and sign and value):
            raise ConfigError(f"--query {text!r}; expected KEY=VALUE, such as StudyDate=20260101-20260131")
        if key in query:
            raise ConfigError(f"--query names {key} twice; QIDO-RS takes one value of each")
        query[key] = value
    return query


def _cases(args: argparse.Namespace, server: Server | None, notes: list[str]) -> tuple[str | Path, Iterator[Case]]:
    """What the batch is of, and its cases."""
    from oarseg.cohort import find_cases, find_remote_cases, source_of

    if server is None:
        return args.input, find_cases(args.input, notes.append, leave_out=args.out)
    query = parse_query(args.query)
    return source_of(server, query), iter(find_remote_cases(server, query, args.limit, notes.append))


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
