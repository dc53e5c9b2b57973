"""The last line of a failed ``python -m monai.bundle`` run.

MONAI evaluates a config's expressions and builds its objects within errors of its own ("Failed to evaluate ..."), so
that Python's last line is a piece of the config. The configs import oarseg; in such a run, and in no other program,
oarseg then sets ``sys.excepthook``: after the traceback comes the message of the error that was the cause.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from types import TracebackType

from oarseg.errors import OarsegError

PROGRAM = "monai.bundle.__main__"


def end_with_our_line() -> None:
    """Set the hook where the running program is MONAI's, and hush libraries' warnings with lines of their source."""
    main = getattr(sys.modules.get("__main__"), "__spec__", None)
    if main is not None and main.name == PROGRAM:
        sys.excepthook = show
        warnings.filterwarnings("ignore", module=r"(monai|torch|ignite)\b")


def show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print the traceback, then the line of :func:`last_line`."""
    sys.stdout.flush()
    sys.__excepthook__(kind, error, trace)
    if line := last_line(error):
        print(f"error: {line}", file=sys.stderr)


def last_line(error: BaseException) -> str | None:
    """Return one line for the user: of oarseg's error among the causes, else of a file that could not be used."""
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, OarsegError):
            return " ".join(str(cause).split())
    files = [cause for cause in causes if isinstance(cause, OSError) and cause.filename]
    return f"{files[-1].filename}: {files[-1].strerror}" if files else None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
