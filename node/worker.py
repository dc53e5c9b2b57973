"""Contouring: one thread with the networks loaded once, and one series after the other."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pydicom

from oarseg.errors import OarsegError, OutputError
from oarseg.images.results_folder import RTSTRUCT, SEG
from oarseg.node.config import Config
from oarseg.node.database import JobState, NodeJob, ResultObject
from oarseg.node.dead_letter import bury
from oarseg.node.log import say, short
from oarseg.node.loop import SPOOL_ERRORS, Loop
from oarseg.node.metrics import Counters
from oarseg.node.spool import NO_ROOM, Spool
from oarseg.text import printable

# Contours a folder of images into another folder; raises OarsegError.
Segmenter = Callable[[Path, Path], object]
FILES = {"rtstruct": RTSTRUCT, "seg": SEG}
# Tries of a series during which the process ended: by a kill, or because of the series, such as for want of memory.
ENDED_TRIES = 10
WITHOUT_ROOM_SECONDS = 30.0


class ContourLoop(Loop):
    """Contours waiting series until it is stopped. ``senders``: woken after each."""

    def __init__(
        self, config: Config, spool: Spool, counters: Counters, segmenter: Segmenter, senders: Sequence[Loop]
    ) -> None:
        super().__init__("worker", self._next, 1.0)
        self.config, self.spool, self.counters, self.segmenter = config, spool, counters, segmenter
        self.senders = senders
        self._spool_failed = False

    def _next(self) -> bool:
        # Jobs that an error left unfinished in the step before. If the spool failed, that was not the series's fault.
        recover(self.spool, counted=not self._spool_failed)
        self._spool_failed = False
        job = self.spool.state.next_job()
        if job is None:
            return False
        try:
            self._do(job)
        except SPOOL_ERRORS:
            self._spool_failed = True
            raise
        return True

    def _do(self, job: NodeJob) -> None:
        name, began = short(job.series), time.monotonic()
        say("segmenting", series=name, job=job.id, attempt=job.attempts)
        try:
            work = self.spool.lay_out(job.id, job.series)
            self.segmenter(work / "ct", work / "out")
            results = self._keep(job, work / "out")
        except (OSError, OutputError) as error:
            self._without_room(job, error) if _no_room(error) else self._fail(job, _reason(error))
            return
        except Exception as error:  # noqa: BLE001 - one odd series must not end the node
            self._fail(job, _reason(error))
            return
        finally:
            self.spool.drop_work(job.id)
        self.spool.state.contoured(job.id, results, [place.name for place in self.config.destinations])
        seconds = time.monotonic() - began
        self.counters.add("series_contoured")
        self.counters.add("segment_seconds", seconds)
        say("segmented", series=name, job=job.id, seconds=round(seconds, 3), objects=len(results))
        for sender in self.senders:
            sender.wake.set()

    def _keep(self, job: NodeJob, out: Path) -> list[ResultObject]:
        """Return the objects to be sent, with the UIDs that they keep however often they are sent."""
        files = [out / FILES[name] for name in self.config.segment.formats]
        if missing := [path.name for path in files if not path.is_file()]:
            raise OarsegError(f"no {missing[0]} was made: no organ was found, or the CT has no FrameOfReferenceUID")
        place = self.spool.keep_results(job.id, files)
        return [_result(place / path.name) for path in files]

    def _fail(self, job: NodeJob, reason: str) -> None:
        self.spool.state.set_job(job.id, JobState.FAILED, reason)
        bury(self.spool, job.id)
        self.counters.add("series_failed")

    def _without_room(self, job: NodeJob, error: Exception) -> None:
        """Let the job wait: a full disk is not the series's fault."""
        say("no space left; trying again later", logging.ERROR, series=short(job.series), job=job.id)
        self.spool.state.wait_again(job.id, counted=False)
        self.stopping.wait(WITHOUT_ROOM_SECONDS)


def recover(spool: Spool, counted: bool = True) -> None:
    """Let jobs during which an earlier run ended wait again; after ``ENDED_TRIES`` times they are dead letters.

    ``counted``: whether the try counts.
    """
    for job in spool.state.jobs(JobState.SEGMENTING):
        if counted and job.attempts >= ENDED_TRIES:
            spool.state.set_job(job.id, JobState.FAILED, f"the node ended {job.attempts} times while contouring it")
            bury(spool, job.id)
        else:
            spool.state.wait_again(job.id, counted)


def make_segmenter(config: Config) -> Segmenter:
    """Load the networks; return what contours with them. Raises WeightsError or ConfigError."""
    from oarseg import Pipeline, segment

    chosen = config.segment
    pipeline = Pipeline(chosen.bundle, chosen.device, list(chosen.organs) or None, chosen.engine)
    return lambda ct, out: segment(ct, out, formats=list(chosen.formats), pipeline=pipeline)


def _result(path: Path) -> ResultObject:
    found = pydicom.dcmread(path, specific_tags=["SOPClassUID", "SOPInstanceUID"], stop_before_pixels=True)
    return ResultObject(path.name, str(found.SOPClassUID), str(found.SOPInstanceUID))


def _no_room(error: BaseException) -> bool:
    cause = error if isinstance(error, OSError) else error.__cause__
    return isinstance(cause, OSError) and cause.errno in NO_ROOM


def _reason(error: Exception) -> str:
    if isinstance(error, OarsegError):
        return printable(f"{type(error).__name__}: {error}")
    return printable(f"unexpected error: {type(error).__name__}: {' '.join(str(error).split())[:300]}")
