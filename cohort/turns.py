"""Each worker gets one case at a time; the case of a worker or machine that ended goes to another one."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from oarseg.cohort.cases import CohortCase
from oarseg.cohort.journal import DONE, FAILED
from oarseg.errors import ConfigError

if TYPE_CHECKING:
    from oarseg.dicomweb import Server

# Each worker has one case, so the driver holds no more than these; nothing queues up behind them.
POLL_SECONDS = 0.5
# Tries of a case whose worker died: a machine that is out of memory kills the innocent too.
WORKER_TRIES = 2
# Without a worker at work, until the run ends because there is no room for one. Loading takes seconds.
ROOM_SECONDS = 600.0


@dataclass(frozen=True)
class CohortTask:
    """A case to be contoured; or, with its ``row``, one that is contoured and has to be stored."""

    case: CohortCase
    row: dict[str, Any] | None = None
    tries: int = 1

    def row_of(self, answer: dict[str, Any]) -> dict[str, Any]:
        """Return the case's row after a worker's answer."""
        kept = {key: value for key, value in (self.row or {}).items() if key not in ("reason", "contoured")}
        row = {"case": self.case.name, "input": self.case.fingerprint, **kept, **answer}
        # Then only the storing is tried again, and no second RTSTRUCT made, which a server would keep beside the first.
        return {**row, "contoured": True} if self.row and answer["status"] == FAILED else row


def to_be_stored(row: dict[str, Any], store_on: Server | None) -> bool:
    """Return whether a case is contoured, and its results were not yet offered to the server that is to have them."""
    return store_on is not None and row["status"] == DONE and "stored" not in row


def in_turns(
    ray: ModuleType, tasks: Iterator[CohortTask], make: Callable[[], Any], workers: int, out: Path,
    store_on: Server | None,
) -> Iterator[tuple[CohortCase, dict[str, Any]]]:  # fmt: skip
    """Give each worker the next task as it becomes free, and yield each case with its row.

    A case's row is yielded, and so on disk, before the case is stored: after a crash the same files are offered again,
    which the server knows by their UIDs.
    """
    crew = _Crew(ray, make, out.resolve(), store_on)
    for _ in range(workers):
        crew.start_worker()
    worked = time.monotonic()
    while True:
        crew.next += [] if crew.next else islice(tasks, 1)
        if not crew.next and not crew.at_work:
            return
        if crew.next and crew.idle:
            crew.give()
            continue
        worked = _patient(worked, crew.at_work)
        for task, answer in crew.answers():
            row = task.row_of(answer)
            yield task.case, row
            if to_be_stored(row, store_on):
                crew.next.append(CohortTask(task.case, row))


class _Crew:
    """The workers: ``busy``, by the answer they owe, with their task; ``idle``; and the tasks that come ``next``.

    A worker has no task while it starts. One that replaces a worker whose machine is gone may never find room: it gets
    no task before it has started, and the others do the work.
    """

    def __init__(self, ray: ModuleType, make: Callable[[], Any], out: Path, store_on: Server | None) -> None:
        self.ray, self.make, self.out, self.store_on = ray, make, out, store_on
        self.busy: dict[Any, tuple[Any, CohortTask | None]] = {}
        self.idle: list[Any] = []
        self.next: list[CohortTask] = []

    @property
    def at_work(self) -> bool:
        return any(task for _, task in self.busy.values())

    def start_worker(self) -> None:
        worker = self.make()
        self.busy[worker.__ray_ready__.remote()] = (worker, None)

    def give(self) -> None:
        """Give an idle worker the next task."""
        worker, task = self.idle.pop(), self.next.pop()
        place = str(self.out / task.case.name)
        send = worker.store.remote(self.store_on, place) if task.row else worker.segment.remote(task.case, place)
        self.busy[send] = (worker, task)

    def answers(self) -> Iterator[tuple[CohortTask, dict[str, Any]]]:
        """Wait a little, and yield the tasks that ended with their answers; replace workers that died."""
        for ready in self.ray.wait(list(self.busy), timeout=POLL_SECONDS)[0]:
            worker, task = self.busy.pop(ready)
            try:
                answer = self.ray.get(ready)
                self.idle.append(worker)
            except self.ray.exceptions.RayActorError as error:
                if _at_start(error):
                    raise ConfigError(f"a worker cannot start: {_cause(error)}") from error
                self.start_worker()
                answer = {"status": FAILED, "reason": f"the worker ended {WORKER_TRIES} times; out of memory?"}
                # Its machine's memory may be used up: another worker tries the case once more.
                if task and task.tries < WORKER_TRIES:
                    self.next.append(replace(task, tries=task.tries + 1))
                    continue
            if task:
                yield task, answer


def _patient(worked: float, at_work: bool) -> float:
    """Return when a worker was last at work, ``worked`` before. Raises ConfigError where that is too long ago."""
    now = time.monotonic()
    if not at_work and now - worked > ROOM_SECONDS:
        raise ConfigError(
            f"for {ROOM_SECONDS:.0f} s no machine had a processor for a worker; finished cases are kept, start again"
        )
    return now if at_work else worked


def _at_start(error: Exception) -> bool:
    """Return whether a worker ended while it was loading, as every other would."""
    return "__init__" in str(error) or "creation task" in str(error)


def _cause(error: Exception) -> str:
    """Return an error's last line, without the class of our errors."""
    return re.sub(r"^oarseg\.[\w.]+: ", "", str(error).strip().splitlines()[-1])
