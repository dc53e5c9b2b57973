"""Parses the command line, runs one command, and turns every way to fail into one line and an exit code."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from importlib import import_module
from types import FrameType

from oarseg import __version__
from oarseg.cli._exit import DONE, INTERRUPTED, REFUSED, UNEXPECTED
from oarseg.errors import OarsegError
from oarseg.process import without_warnings
from oarseg.text import printable

# The commands in the order of the help; each is the module of this folder with its name.
COMMANDS = {
    "segment": "contour the organs at risk in one CT",
    "batch": "contour many CTs: a folder tree, a datalist, or series of a DICOMweb server",
    "serve": "run a DICOM node: CTs come in, contours go out",
    "demo": "contour the CT that comes with oarseg (no patient: an average of many)",
    "series": "list the CT series that can be contoured",
    "organs": "list the organs that can be contoured",
    "evaluate": "score contours against references, or compare two evaluations",
    "dicomweb": "store contours that a DICOMweb server did not take when they were made",
    "convert": "convert a public set, an nnU-Net folder or DICOM with structure sets to a data set",
    "statistics": "measure mean and spread of a network's training intensities",
    "bundles": "where the bundles are (where); render (sync), give weights (weights), pack or unpack them",
    "compress": "pack a two-stage bundle's networks, calibrate them for 8 bits, or report on a compression chain",
    "benchmark": "measure engines and models: seconds, memory, operations, size, agreement",
}
DESCRIPTION = (
    "Contours organs at risk in radiotherapy planning CT. For research use only; not a medical device: every contour "
    "must be reviewed by a qualified person."
)
EPILOG = """examples:
  oarseg demo                               contour the CT that comes with oarseg
  oarseg segment planning_ct -o contours    DICOM folder in; RTSTRUCT, NIfTI, report and preview out
  oarseg segment --help                     all options of one command

exit codes: 0 done; 1 unexpected error, or a case of a batch failed; 2 an error that the message explains;
  3 no organ was found; 130 interrupted
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``oarseg`` with ``argv`` (the process's own by default) and return its exit code."""
    # NumPy is not imported yet. Resampling multiplies many small matrices, and BLAS threads that wait for each other
    # were measured to more than double the time of the first one. Huge pages, which NumPy asks for, cost a process that
    # lives for seconds more than they save: 4 % of a command on a virtual machine.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ.setdefault("NUMPY_MADVISE_HUGEPAGE", "0")
    try:
        args = _parsed(sys.argv[1:] if argv is None else list(argv))
    except SystemExit as stop:  # how argparse says that --help is done, or that an option is wrong
        return stop.code if isinstance(stop.code, int) else REFUSED
    try:
        with _ended_by_signals():
            return _run(args)
    except KeyboardInterrupt as stop:
        _say(f"interrupted; {printable(str(stop)) or 'nothing was written'}")
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output (head, less) has gone; Python would complain once more when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except OarsegError as error:
        _trace(args)
        _say(f"error: {_lines(error)}")
        return REFUSED
    except Exception as error:  # noqa: BLE001 - the last resort
        _trace(args)
        _say(f"unexpected error: {_line(error)}\n{_hint(error, args)}")
        return UNEXPECTED


def _run(args: argparse.Namespace) -> int:
    """Run the command and return its exit code. Raises ConfigError where a package of an extra is not installed."""
    # Libraries' warnings name lines of their source. What a user must know is a warning of ours, printed in words.
    hushed = nullcontext() if getattr(args, "verbose", False) else without_warnings()
    try:
        with hushed:
            return args.run(args)
    except ModuleNotFoundError as error:
        from oarseg.requires import lacking

        raise lacking(args.parser.prog, error) or error from error


def _parsed(words: list[str]) -> argparse.Namespace:
    """Return the options in ``words``. Raises SystemExit after --help or a message on a wrong option."""
    named = next((word for word in words if not word.startswith("-")), None)
    parser = build_parser(named or "")
    if not words:
        parser.print_help()
        raise SystemExit(DONE)
    args, unknown = parser.parse_known_args(words)
    if unknown:
        # By the command's own parser, whose usage helps; the top one's lists commands.
        args.parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    return args


def build_parser(command: str | None = None) -> argparse.ArgumentParser:
    """Return the parser with a sub-parser for each command, complete for ``command`` alone (by default for all).

    Importing one command and not all saves a tenth of a second.
    """
    parser = argparse.ArgumentParser(
        prog="oarseg", description=DESCRIPTION, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"oarseg {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, title in COMMANDS.items():
        sub = commands.add_parser(
            name,
            help=title,
            description=f"{title[0].upper()}{title[1:]}.",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if command in (None, name):
            _complete(sub, name)
    return parser


def _complete(parser: argparse.ArgumentParser, name: str) -> None:
    """Add the options and examples of a command to its parser."""
    module = import_module(f"oarseg.cli.{name}")
    if examples := getattr(module, "EXAMPLES", ""):
        parser.epilog = f"examples:\n{examples}"
    module.add_arguments(parser)
    if not any("-v" in action.option_strings for action in parser._actions):
        parser.add_argument("-v", "--verbose", action="store_true", help="show where an error came from")
    parser.set_defaults(run=module.run, parser=parser)


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """A request to end (as a batch system sends it) cleans up as Ctrl-C does."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    try:
        earlier = signal.signal(signal.SIGTERM, stop)
    except ValueError:  # not in the main thread: signals are the caller's affair
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, earlier)


def _trace(args: argparse.Namespace) -> None:
    if getattr(args, "verbose", False):
        traceback.print_exc()


def _say(text: str) -> None:
    print(f"oarseg: {text}", file=sys.stderr, flush=True)


def _lines(error: OarsegError) -> str:
    """Return the message, a list's lines as lines; all else that is not printable is escaped."""
    return "\n".join(printable(line) for line in str(error).split("\n"))


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _hint(error: Exception, args: argparse.Namespace) -> str:
    if isinstance(error, MemoryError) or "out of memory" in str(error).lower():
        return "  The machine ran out of memory: end other programs, crop the CT, or try --device cpu."
    if getattr(args, "verbose", False):
        return "  Please report this with the lines above; remove anything that names a patient."
    return "  Run it again with -v to see where, and report that; remove anything that names a patient."
