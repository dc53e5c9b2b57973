"""The cases of a cohort through Ray: workers that load the networks once and are given one case at a time.

A case that cannot be contoured is written down with the reason and never ends the run; neither does a worker that dies.
Results are on disk at once (see :mod:`oarseg.cohort.journal`), so that the next run continues a stopped one.
"""

from __future__ import annotations

import logging
import math
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from oarseg import __version__
from oarseg.checksum import sha256
from oarseg.cohort.cases import CohortCase
from oarseg.cohort.journal import DONE, FAILED, Journal, claim, locked
from oarseg.cohort.turns import CohortTask, in_turns, to_be_stored
from oarseg.cohort.worker import CohortWorker
from oarseg.errors import ConfigError
from oarseg.inference.bundle import read_bundle
from oarseg.inference.engines.stored import FILE as RANGES
from oarseg.inference.engines.stored import FOLDER as COMPRESSED
from oarseg.requires import require

if TYPE_CHECKING:
    from oarseg.dicomweb import Server

CONNECT_SECONDS = 10.0


@dataclass(frozen=True)
class Options:
    """How to contour; as of :func:`oarseg.segment`. ``workers``: 0 for as many as there are processors or GPUs.

    ``store_on``: DICOMweb server that is given the DICOM results of each case.
    """

    organs: list[str] | None = None
    formats: list[str] | None = None
    device: str = "auto"
    engine: str = "auto"
    bundle: str | None = None
    workers: int = 0
    address: str | None = None
    retry_failed: bool = True
    store_on: Server | None = None


@dataclass
class CohortOutcome:
    """Result of a run. ``rows``: of all cases by name, those of earlier runs too. ``skipped``: done in earlier runs."""

    rows: dict[str, dict[str, Any]]
    done: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0.0


def run_cohort(
    cases: Iterable[CohortCase],
    source: str | Path,
    out: Path,
    options: Options,
    tell: Callable[[CohortOutcome], None] = lambda outcome: None,
) -> CohortOutcome:
    """Contour the ``cases`` of ``source`` (a path, or a text with "://" in it) into ``out``, one folder each.

    ``tell``: called after each case. Raises ConfigError (Ray is not installed, the cluster cannot be reached, ``out``
    holds a batch of other settings), WeightsError or OutputError; finished cases are kept, also on
    KeyboardInterrupt.
    """
    ray = _ray()
    settings = _settings(str(source), options)
    claim(out, settings)
    outcome = CohortOutcome({})
    began = time.monotonic()
    with _swept(out), _cluster(ray, options, out, settings) as (make, workers):
        journal = Journal(out)
        for case, row in in_turns(ray, _todo(cases, journal, outcome, options), make, workers, out, options.store_on):
            journal.add(row)
            if to_be_stored(row, options.store_on):
                continue
            outcome.rows[case.name] = row
            outcome.done += row["status"] == DONE
            outcome.failed += row["status"] == FAILED
            outcome.seconds = time.monotonic() - began
            tell(outcome)
    outcome.seconds = time.monotonic() - began
    return outcome


def _ray() -> ModuleType:
    # By default Ray reports its use to its makers; nothing is to leave the machine.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # Without it Ray hides the GPUs from workers that ask for none, and warns about it.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    require("oarseg batch", "ray")
    import ray

    # Its remarks on tokens and the like, which it writes before it sets the level that ``init`` is given.
    logging.getLogger("ray").setLevel(logging.ERROR)
    return ray


def _settings(source: str, options: Options) -> dict[str, Any]:
    """Return the settings on which results depend: a batch has one of each. The engine stands in each row."""
    bundle = read_bundle(options.bundle)
    table = bundle.root / COMPRESSED / RANGES
    return {
        "input": source if "://" in source else os.path.abspath(source),
        "oarseg": __version__,
        "weights": bundle.weights["sha256"],
        "compressed": sha256(table) if table.is_file() else None,
        "organs": options.organs,
        "formats": options.formats,
        "engine": options.engine,
    }


@contextmanager
def _swept(out: Path) -> Iterator[None]:
    """Lock ``out``, and remove unfinished and fetched files of a killed run, and of this one at its end."""
    with locked(out):
        try:
            _sweep(out)
            yield
        finally:
            _sweep(out)


def _sweep(out: Path) -> None:
    for left in out.glob(".oarseg-*"):
        shutil.rmtree(left, ignore_errors=True)


def _todo(
    cases: Iterable[CohortCase], journal: Journal, outcome: CohortOutcome, options: Options
) -> Iterator[CohortTask]:
    """Yield what is left to do; cases that need nothing go into ``outcome``."""
    for case in cases:
        row = journal.row_of(case.name, case.fingerprint)
        if row is None:
            yield CohortTask(case)
        elif to_be_stored(row, options.store_on):
            yield CohortTask(case, row)
        elif row["status"] == DONE or not options.retry_failed or (row.get("contoured") and not options.store_on):
            outcome.rows[case.name] = row
            outcome.skipped += 1
        else:
            yield CohortTask(case, row if row.get("contoured") else None)


@contextmanager
def _cluster(
    ray: ModuleType, options: Options, out: Path, batch: dict[str, Any]
) -> Iterator[tuple[Callable[[], Any], int]]:
    """Start Ray, or join it at an address; yield a function that starts a worker, and the number of workers."""
    if ray.is_initialized() and not options.address:
        # This process uses Ray already: its cluster is taken, and left as it is.
        yield _workers(ray, options, out, batch)
        return
    if options.address:
        _check_reachable(options.address)
    # Without an address one of its own, whatever cluster is about; and for this machine alone.
    own = {
        "address": "local", "_node_ip_address": "127.0.0.1", "num_cpus": os.cpu_count() or 1,
        "include_dashboard": False, "configure_logging": False,
    }  # fmt: skip
    place = {"address": options.address} if options.address else own
    try:
        ray.init(**place, log_to_driver=False, logging_level="ERROR")
    except Exception as error:  # noqa: BLE001 - what Ray raises has no class of its own
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(f"Ray cannot be started or reached: {reason}") from error
    try:
        yield _workers(ray, options, out, batch)
    finally:
        ray.shutdown()


def _check_reachable(address: str) -> None:
    """Raises ConfigError where nothing listens: Ray itself would try for a quarter of an hour."""
    host, _, port = address.rpartition(":")
    if not host or "://" in address or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"there is no Ray cluster at {address} ({reason}); start one, or give its address") from error


def _workers(ray: ModuleType, options: Options, out: Path, batch: dict[str, Any]) -> tuple[Callable[[], Any], int]:
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
    actor = ray.remote(CohortWorker).options(**share)
    settings = {key: getattr(options, key) for key in ("organs", "formats", "device", "engine", "bundle")}
    settings |= {"batch": batch, "out": str(out.resolve())}
    return lambda: actor.remote(settings), workers


def _share(cores: list[int], workers: int) -> int:
    """Return the most processors for each worker with which all find a machine; ``cores``: of each machine."""
    fits = (n for n in range(max([1, *cores]), 0, -1) if sum(have // n for have in cores) >= workers)
    return next(fits, 1)
