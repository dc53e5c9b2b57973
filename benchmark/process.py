"""One measured process: started, waited for, its wall and processor time taken."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oarseg.errors import OarsegError
from oarseg.text import printable


class RunError(OarsegError):
    """A measured process failed; the message is the one it ended with."""


@dataclass(frozen=True)
class Ended:
    """A process that ended well: its answer, wall seconds from start to end, processor seconds of all its threads."""

    answer: dict[str, Any]
    wall: float
    cpu: float


def run_process(command: list[str], job: dict[str, Any], name: str, threads: int | None = None) -> Ended:
    """Run ``command`` with two more arguments, the file of ``job`` (JSON) and the file that it writes its answer to.

    Args: ``name``: for messages. ``threads``: ``OMP_NUM_THREADS`` of the process. Raises RunError where it fails.
    """
    with tempfile.TemporaryDirectory(prefix="oarseg-benchmark-") as folder:
        request, answer, errors = (Path(folder) / file for file in ("job.json", "answer.json", "errors.txt"))
        request.write_text(json.dumps(job), encoding="utf-8")
        environment = os.environ | ({"OMP_NUM_THREADS": str(threads)} if threads else {})
        with errors.open("wb") as stream:
            began = time.perf_counter()
            process = subprocess.Popen(
                [*command, str(request), str(answer)], stdout=subprocess.DEVNULL, stderr=stream, env=environment,
                cwd=folder,
            )  # fmt: skip
            status, cpu = _wait(process)
            wall = time.perf_counter() - began
        if status or not answer.is_file():
            raise RunError(f"{name}: {_last_line(errors) or f'ended with status {status}'}")
        return Ended(json.loads(answer.read_text(encoding="utf-8")), wall, cpu)


def python_module(module: str) -> list[str]:
    """Return the command that runs a module of this project, without the working folder on Python's path."""
    return [sys.executable, "-P", "-m", module]


def _wait(process: subprocess.Popen) -> tuple[int, float]:
    """Return exit status and processor seconds; if waiting is interrupted, end the process."""
    try:
        _, status, usage = os.wait4(process.pid, 0)
    except BaseException:
        process.kill()
        process.wait()
        raise
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, usage.ru_utime + usage.ru_stime


def _last_line(errors: Path) -> str:
    lines = errors.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return printable(lines[-1].removeprefix("error: "))[:500] if lines else ""
