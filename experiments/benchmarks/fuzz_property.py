"""What every reader must keep to: a result or one OarsegError with words, in time, in bounds, in its own folder."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from oarseg.errors import OarsegError

SECONDS = 20.0
# Address space beyond what the process has when a reader is called.
MIB = 3072


class Hang(BaseException):
    """A reader was still at work after ``SECONDS``. No Exception, so that no reader takes it for a damaged file."""


class Broken(AssertionError):
    """A reader did something else than give a result or raise an OarsegError."""


def holds(read: Callable[[], object], work: Path) -> str:
    """Call ``read`` and return "read", or the name of the OarsegError that it raised.

    ``work``: holds the folders ``in`` and ``out`` and must hold nothing else afterwards. Raises Broken, Hang, or what
    the reader should not have raised.
    """
    before = _listed(work / "in")
    began = time.monotonic()
    with _in_time(SECONDS), _in_memory(MIB):
        try:
            read()
            outcome = "read"
        except OarsegError as error:
            if not str(error).strip():
                raise Broken(f"{type(error).__name__} without words") from error
            outcome = type(error).__name__
    if time.monotonic() - began > SECONDS:
        raise Broken(f"{time.monotonic() - began:.0f} s")
    found = {path.name for path in work.iterdir()}
    if found - {"in", "out"} or _listed(work / "in") != before:
        raise Broken(f"files outside of the output folder: {sorted(found)}")
    return outcome


def _listed(folder: Path) -> dict[str, tuple[int, int]]:
    return {p.name: (p.lstat().st_size, p.lstat().st_mtime_ns) for p in folder.iterdir()}


@contextlib.contextmanager
def _in_time(seconds: float) -> Iterator[None]:
    """Raise Hang in the main thread where the system can."""
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def late(*_: object) -> None:
        raise Hang(f"still at work after {seconds:g} s")

    earlier = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, earlier)


@contextlib.contextmanager
def _in_memory(mib: int) -> Iterator[None]:
    """Let allocations beyond ``mib`` fail, on Linux: a MemoryError is a finding, a machine without memory is none."""
    place = Path("/proc/self/statm")
    if not place.exists():
        yield
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    now = int(place.read_text().split()[0]) * resource.getpagesize()
    limit = now + (mib << 20)
    resource.setrlimit(resource.RLIMIT_AS, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
