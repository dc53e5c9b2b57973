"""The running process: its peak memory, and libraries' warnings kept from the terminal."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_warnings() -> Iterator[None]:
    """Ignore libraries' warnings while the block, or the decorated function, runs: they name lines of their own source.

    What is odd about a file is in oarseg's own notes. The filter is the process's, not the thread's.
    """
    with warnings.catch_warnings(action="ignore"):
        yield


def peak_memory_mib() -> float:
    """Return the peak resident memory of this process, in MiB.

    Not ``ru_maxrss`` where Linux offers ``VmHWM``: the former counts what the parent held when it started the process.
    """
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) / 1024
    except (OSError, StopIteration):
        import resource

        # macOS counts in bytes, others in KiB.
        unit = 2**20 if sys.platform == "darwin" else 2**10
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
