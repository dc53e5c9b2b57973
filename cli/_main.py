"""Finds the commands, parses the command line, and turns every way to fail into one line and an exit code."""

from __future__ import annotations

import argparse
import os
import pkgutil
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from types import FrameType, ModuleType

from oarseg import __version__
from oarseg.errors import OarsegError
from oarseg.text import printable

DONE, UNEXPECTED, REFUSED, INTERRUPTED = 0, 1, 2, 130
DESCRIPTION = (
    "Contours organs at risk in radiotherapy planning CT. For research use only; not a medical device: every contour "
    "must be reviewed by a qualified person."
)
EPILOG = """examples:
  oarseg demo                               contour the CT that comes with oarseg
  oarseg segment planning_ct -o contours    DICOM folder in; RTSTRUCT, NIfTI, report and preview out
  oarseg segment --help                     all options of one command
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``oarseg`` with ``argv`` (the process's own by default) and return its exit code."""
    # NumPy is not imported yet. Resampling multiplies many small matrices, and BLAS threads that wait for each other
    # were measured to more than double the time of the first one. Huge pages, which NumPy asks for, cost a process that
    # lives for seconds more than they save: 4 % of a command on a virtual machine.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ.setdefault("NUMPY_MADVISE_HUGEPAGE", "0")
    try:
        args = build_parser().parse_args(argv)
    except SystemExit as stop:  # argparse's way to say that --help is done, or that an option is wrong
        return stop.code if isinstance(stop.code, int) else REFUSED
    try:
        with _ended_by_signals():
            return args.run(args)
    except KeyboardInterrupt as stop:
        _say(f"interrupted; {printable(str(stop)) or 'nothing was written'}")
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output (head, less) has gone; Python would complain once more when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except OarsegError as error:
        _trace(args)
        _say(f"error: {printable(str(error))}")
        return REFUSED
    except Exception as error:  # noqa: BLE001 - the last resort
        _trace(args)
        _say(f"unexpected error: {_line(error)}\n{_hint(error, args)}")
        return UNEXPECTED


def build_parser() -> argparse.ArgumentParser:
    """The parser with one sub-parser a command."""
    parser = argparse.ArgumentParser(
        prog="oarseg", description=DESCRIPTION, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"oarseg {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for module in find_commands():
        examples = getattr(module, "EXAMPLES", "")
        sub = commands.add_parser(
            module.NAME,
            help=module.HELP,
            description=f"{module.HELP[0].upper()}{module.HELP[1:]}.",
            epilog=f"examples:\n{examples}" if examples else None,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(sub)
        if not any("-v" in action.option_strings for action in sub._actions):
            sub.add_argument("-v", "--verbose", action="store_true", help="show where an error came from")
        sub.set_defaults(run=module.run)
    return parser


def find_commands() -> list[ModuleType]:
    """The modules of this folder that are commands, in the order of the help."""
    import oarseg.cli

    names = [m.name for m in pkgutil.iter_modules(oarseg.cli.__path__) if not m.name.startswith("_")]
    modules = [import_module(f"oarseg.cli.{name}") for name in names]
    return sorted(modules, key=lambda m: (getattr(m, "ORDER", 50), m.NAME))


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


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _hint(error: Exception, args: argparse.Namespace) -> str:
    if isinstance(error, MemoryError) or "out of memory" in str(error).lower():
        return "  The machine ran out of memory: end other programs, crop the CT, or try --device cpu."
    if getattr(args, "verbose", False):
        return "  Please report this with the lines above; remove anything that names a patient."
    return "  Run it again with -v to see where, and report that; remove anything that names a patient."
