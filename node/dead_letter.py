"""Dead letters: what could not be contoured or delivered, with the reason, where a person looks for it.

dead-letter/<series>/reason.json    when, what, why
dead-letter/<series>/images         link to the images, where the disk has links
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
from datetime import UTC, datetime
from pathlib import Path

from oarseg.node.log import say, short
from oarseg.node.spool import SHORT, Spool, flush_folder
from oarseg.node.state import FAILED, UNDELIVERED, Job

REASON = "reason.json"


def bury(spool: Spool, job_id: int) -> None:
    """Write a job's dead letter. Its state is on disk already, so ``restore`` writes it again if this fails."""
    job = next((j for j in spool.state.jobs(FAILED, UNDELIVERED) if j.id == job_id), None)
    if job is None:
        return
    say("dead letter", logging.ERROR, series=short(job.series), job=job.id, state=job.state, see=_told(spool, job))
    # No room for the letter: the state holds it, and the next start writes it.
    with contextlib.suppress(OSError):
        _write(spool, job)


def restore(spool: Spool) -> None:
    """Make the folder agree with the state: after a crash between the two, and when a dead letter was tried again."""
    # Before the state is asked: a letter that is written meanwhile stays.
    found = list((spool.root / "dead-letter").glob("*"))
    dead: dict[str, Job] = {}
    for job in spool.state.jobs(FAILED, UNDELIVERED):
        last = spool.state.last_job(job.series)
        if not job.cleared and last and (last.id == job.id or last.cleared):
            dead[job.series[:SHORT]] = job
    with contextlib.suppress(OSError):
        for folder in found:
            if folder.name not in dead:
                shutil.rmtree(folder, ignore_errors=True)
        for job in dead.values():
            if not (_folder(spool, job) / REASON).exists():
                _write(spool, job)


def _folder(spool: Spool, job: Job) -> Path:
    return spool.root / "dead-letter" / job.series[:SHORT]


def _told(spool: Spool, job: Job) -> str:
    return str((_folder(spool, job) / REASON).relative_to(spool.root))


def _write(spool: Spool, job: Job) -> None:
    folder = _folder(spool, job)
    folder.mkdir(parents=True, exist_ok=True)
    images = folder / "images"
    if not images.is_symlink():
        with contextlib.suppress(OSError):
            images.symlink_to(Path("..", "..", "series", job.series), target_is_directory=True)
    row = {
        "series": short(job.series),
        "state": job.state,
        "reason": job.reason,
        "since": datetime.fromtimestamp(job.changed, UTC).isoformat(timespec="seconds"),
        "instances": spool.state.count(job.series),
        "job": job.id,
    }
    partial = folder / f".{REASON}.part"
    partial.write_text(json.dumps(row, indent=2) + "\n", encoding="utf-8")
    os.replace(partial, folder / REASON)
    flush_folder(folder)
