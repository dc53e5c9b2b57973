"""Each worker is given one case at a time; what a worker, or a machine, that ended leaves is given to another."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from oarseg.cohort.cases import Case
from oarseg.cohort.journal import DONE, FAILED
from oarseg.errors import ConfigError

if TYPE_CHECKING:
    from oarseg.dicomweb import Server

# One case is given to each worker, so the driver holds no more than these; nothing queues up behind them.
POLL_SECONDS = 0.5
# Of a case whose worker died: a machine that is out of memory kills the innocent too.
TRIES = 2
# Without a worker at work, until it is said that there is no room for one. Loading takes seconds.
ROOM_SECONDS = 600.0


@dataclass(frozen=True)
class Job:
    """A case to be contoured; or, with its ``row``, one that is contoured and has to be stored."""

    case: Case
    row: dict[str, Any] | None = None
    tries: int = 1

    def ended(self, told: dict[str, Any]) -> dict[str, Any]:
        """The case's row once a worker has told what became of it."""
        kept = {key: value for key, value in (self.row or {}).items() if key not in ("reason", "contoured")}
        row = {"case": self.case.name, "input": self.case.fingerprint, **kept, **told}
        # Then only the storing is tried again, and no second RTSTRUCT made, which a server would keep beside the first.
        return {**row, "contoured": True} if self.row and told["status"] == FAILED else row


def to_be_stored(row: dict[str, Any], store_on: Server | None) -> bool:
    """Whether a case is contoured, and a server is to have it that was not offered it yet."""
    return store_on is not None and row["status"] == DONE and "stored" not in row


def in_turns(
    ray: ModuleType, jobs: Iterator[Job], make: Callable[[], Any], workers: int, out: Path, store_on: Server | None
) -> Iterator[tuple[Case, dict[str, Any]]]:
    """Give each worker the next job as it becomes free, and yield what became of each.

    A case's row is yielded, and so on disk, before the case is stored: after a crash the same files are offered again,
    which the server knows by their UIDs.
    """
    out = out.resolve()
    # Of each worker that was asked something, the job; none while it starts. One that takes the place of a worker whose
    # machine is gone may never find room: it is given nothing before it has started, and the others do the work.
    busy: dict[Any, tuple[Any, Job | None]] = {}
    idle: list[Any] = []
    again: list[Job] = []

    def start() -> None:
        worker = make()
        busy[worker.__ray_ready__.remote()] = (worker, None)

    for _ in range(workers):
        start()
    worked = time.monotonic()
    while True:
        again += [] if again else islice(jobs, 1)
        at_work = any(job for _, job in busy.values())
        if not again and not at_work:
            return
        if again and idle:
            worker, job = idle.pop(), again.pop()
            busy[_give(worker, job, out, store_on)] = (worker, job)
            continue
        worked = _patient(worked, at_work)
        for answer in ray.wait(list(busy), timeout=POLL_SECONDS)[0]:
            worker, job = busy.pop(answer)
            try:
                told = ray.get(answer)
                idle.append(worker)
            except ray.exceptions.RayActorError as error:
                if _at_start(error):
                    raise ConfigError(f"a worker cannot start: {_cause(error)}") from error
                start()
                told = {"status": FAILED, "reason": f"the worker ended {TRIES} times; out of memory?"}
                # With it perhaps the machine's memory is gone: another one tries the case once more.
                if job and job.tries < TRIES:
                    again.append(replace(job, tries=job.tries + 1))
                    continue
            if job:
                row = job.ended(told)
                yield job.case, row
                again += [Job(job.case, row)] if to_be_stored(row, store_on) else []


def _give(worker: Any, job: Job, out: Path, store_on: Server | None) -> Any:
    place = str(out / job.case.name)
    return worker.store.remote(store_on, place) if job.row else worker.segment.remote(job.case, place)


def _patient(worked: float, at_work: bool) -> float:
    """When a worker was last at work; ``worked`` is what it was. Raises ConfigError where that is too long ago."""
    now = time.monotonic()
    if not at_work and now - worked > ROOM_SECONDS:
        raise ConfigError(
            f"for {ROOM_SECONDS:.0f} s no machine had a processor for a worker; what is done is kept, start again"
        )
    return now if at_work else worked


def _at_start(error: Exception) -> bool:
    """Whether a worker ended while it was loading, as every other would."""
    return "__init__" in str(error) or "creation task" in str(error)


def _cause(error: Exception) -> str:
    """Its last line, without the name of our errors: they say all."""
    return re.sub(r"^oarseg\.[\w.]+: ", "", str(error).strip().splitlines()[-1])
