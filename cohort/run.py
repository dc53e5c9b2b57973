"""The cases of a cohort through Ray: workers that load the networks once and are given one case at a time.

A case that cannot be contoured is written down with the reason and never ends the run; neither does a worker that dies.
What was done is on disk at once (see :mod:`oarseg.cohort.journal`), so that a run that was stopped goes on.
"""

from __future__ import annotations

import math
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from oarseg import __version__
from oarseg.checksum import sha256
from oarseg.cohort.cases import Case
from oarseg.cohort.journal import DONE, FAILED, Journal, claim, locked
from oarseg.cohort.worker import Worker
from oarseg.errors import ConfigError
from oarseg.inference.bundle import read_bundle
from oarseg.inference.engines.ranges import FILE as RANGES
from oarseg.inference.engines.stored import FOLDER as COMPRESSED

INSTALL = "pip install 'oarseg[cluster]'"
# One case is given to each worker, so the driver holds no more than these; nothing queues up behind them.
POLL_SECONDS = 0.5
# Of a case whose worker died: a machine that is out of memory kills the innocent too.
TRIES = 2


@dataclass(frozen=True)
class Options:
    """How to contour; as of :func:`oarseg.segment`. ``workers``: 0 for as many as there are processors or GPUs."""

    organs: list[str] | None = None
    formats: list[str] | None = None
    device: str = "auto"
    engine: str = "auto"
    bundle: str | None = None
    workers: int = 0
    address: str | None = None
    retry_failed: bool = True


@dataclass
class Outcome:
    """What a run did. ``rows``: of all cases of the cohort, by name, earlier runs' too. ``skipped``: done before."""

    rows: dict[str, dict[str, Any]]
    done: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0.0


def run_cohort(
    cases: Iterable[Case],
    source: str | Path,
    out: Path,
    options: Options,
    tell: Callable[[Outcome], None] = lambda outcome: None,
) -> Outcome:
    """Contour the ``cases`` of ``source`` into ``out``, one folder each.

    ``tell``: told after each case. Raises ConfigError (Ray is not installed, the cluster cannot be reached, ``out``
    holds a batch of other settings), WeightsError or OutputError; what is done by then is kept, also on
    KeyboardInterrupt.
    """
    ray = _ray()
    claim(out, _settings(str(source), options))
    outcome = Outcome({})
    began = time.monotonic()
    with locked(out), _cluster(ray, options) as (make, workers):
        _sweep(out)
        journal = Journal(out)
        for case, row in _in_turns(ray, _todo(cases, journal, outcome, options), make, workers, out):
            journal.add(row)
            outcome.rows[case.name] = row
            outcome.done += row["status"] == DONE
            outcome.failed += row["status"] == FAILED
            outcome.seconds = time.monotonic() - began
            tell(outcome)
    outcome.seconds = time.monotonic() - began
    return outcome


def _ray() -> ModuleType:
    # Ray reports its use to its makers unless told not to; nothing is to leave the machine.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # Without it Ray hides the GPUs from workers that ask for none, and warns about it.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError as error:
        raise ConfigError(f"oarseg batch needs the package ray; install it: {INSTALL}") from error
    return ray


def _settings(source: str, options: Options) -> dict[str, Any]:
    """What results depend on: a batch is of one of them. What computed each case stands in its row."""
    bundle = read_bundle(options.bundle)
    table = bundle.root / COMPRESSED / RANGES
    return {
        "input": os.path.abspath(source),
        "oarseg": __version__,
        "weights": bundle.weights["sha256"],
        "compressed": sha256(table) if table.is_file() else None,
        "organs": options.organs,
        "formats": options.formats,
        "engine": options.engine,
    }


def _sweep(out: Path) -> None:
    """Remove what a run that was killed had begun to write."""
    for left in out.glob(".oarseg-*"):
        shutil.rmtree(left, ignore_errors=True)


def _todo(cases: Iterable[Case], journal: Journal, outcome: Outcome, options: Options) -> Iterator[Case]:
    for case in cases:
        row = journal.row_of(case.name, case.fingerprint)
        if row and (row["status"] == DONE or not options.retry_failed):
            outcome.rows[case.name] = row
            outcome.skipped += 1
        else:
            yield case


@contextmanager
def _cluster(ray: ModuleType, options: Options) -> Iterator[tuple[Callable[[], Any], int]]:
    """Ray, started here or joined at an address, as what starts a worker, and how many there are to be."""
    try:
        if options.address:
            ray.init(address=options.address, log_to_driver=False, logging_level="ERROR")
        else:
            cores = os.cpu_count() or 1
            # Of its own, whatever cluster is about; and for this machine alone.
            ray.init(
                address="local",
                _node_ip_address="127.0.0.1",
                num_cpus=cores,
                include_dashboard=False,
                log_to_driver=False,
                logging_level="ERROR",
                configure_logging=False,
            )
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ConfigError(f"Ray cannot be started or reached: {str(error).splitlines()[0]}") from error
    try:
        yield _workers(ray, options)
    finally:
        ray.shutdown()


def _workers(ray: ModuleType, options: Options) -> tuple[Callable[[], Any], int]:
    nodes = [node for node in ray.nodes() if node["Alive"]]
    cores, gpus = (int(sum(node["Resources"].get(kind, 0) for node in nodes)) for kind in ("CPU", "GPU"))
    on_gpu = options.device.startswith("cuda") or (options.device == "auto" and gpus > 0)
    workers = options.workers or max(1, gpus if on_gpu else cores)
    if workers > cores:
        raise ConfigError(f"--workers {workers}, but there are {cores} processors; each worker needs one")
    # Ray sets the threads of a worker's numerical libraries by its share of the processors.
    share: dict[str, float] = {"num_cpus": _share([int(n["Resources"].get("CPU", 0)) for n in nodes], workers)}
    if on_gpu and gpus:
        share["num_gpus"] = min(1.0, math.floor(1000 * gpus / workers) / 1000)
    actor = ray.remote(Worker).options(**share)
    settings = {key: getattr(options, key) for key in ("organs", "formats", "device", "engine", "bundle")}
    return lambda: actor.remote(settings), workers


def _share(cores: list[int], workers: int) -> int:
    """Processors for each worker, the most with which all find a machine; ``cores``: of each machine."""
    fits = (n for n in range(max([1, *cores]), 0, -1) if sum(have // n for have in cores) >= workers)
    return next(fits, 1)


def _in_turns(
    ray: ModuleType, cases: Iterator[Case], make: Callable[[], Any], workers: int, out: Path
) -> Iterator[tuple[Case, dict[str, Any]]]:
    """Give each worker the next case as it becomes free, and yield what became of each."""
    out = out.resolve()
    idle = [make() for _ in range(workers)]
    busy: dict[Any, tuple[Any, Case, int]] = {}
    again: list[tuple[Case, int]] = []
    while True:
        while idle and (given := again.pop() if again else _next(cases)):
            case, tries = given
            worker = idle.pop()
            answer = worker.segment.remote(os.path.abspath(case.source), case.series, str(out / case.name))
            busy[answer] = (worker, case, tries)
        if not busy:
            return
        ready, _ = ray.wait(list(busy), timeout=POLL_SECONDS)
        for answer in ready:
            worker, case, tries = busy.pop(answer)
            try:
                row = ray.get(answer)
            except ray.exceptions.RayActorError as error:
                if _at_start(error):
                    raise ConfigError(f"a worker cannot start: {_cause(error)}") from error
                # The worker is gone, and with it perhaps the machine's memory: another one tries the case once more.
                idle.append(make())
                if tries < TRIES:
                    again.append((case, tries + 1))
                    continue
                row = {"status": FAILED, "reason": f"the worker ended {tries} times; out of memory?"}
            else:
                idle.append(worker)
            yield case, {"case": case.name, "input": case.fingerprint, **row}


def _next(cases: Iterator[Case]) -> tuple[Case, int] | None:
    case = next(cases, None)
    return (case, 1) if case is not None else None


def _at_start(error: Exception) -> bool:
    """Whether a worker ended while it was loading, as every other would."""
    return "__init__" in str(error) or "creation task" in str(error)


def _cause(error: Exception) -> str:
    return str(error).strip().splitlines()[-1]
