"""Where and with what a result was made: no name of the machine or of its user."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
from collections.abc import Iterable
from pathlib import Path


def made(packages: Iterable[str]) -> dict:
    """Date, processor, cores, system and versions."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        rows = (line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line)
        name = next(rows, name)
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(), "processor": name, "cores": os.cpu_count(),
        "system": platform.system(), "python": platform.python_version(),
        **{package: importlib.metadata.version(package) for package in packages},
    }  # fmt: skip
