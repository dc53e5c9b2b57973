"""Figures of the running process."""

from __future__ import annotations

import sys


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
