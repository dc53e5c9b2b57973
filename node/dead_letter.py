"""Dead letters: series that could not be contoured or delivered, each with the reason, in a folder for people.

dead-letter/<series>/reason.json    when, what, why
dead-letter/<series>/images         link to the images, where the disk has links
"""

from __future__ import annotations

import contextlib
import logging
import shutil
from datetime import UTC, datetime
from pathlib import Path

from oarseg.errors import OutputError
from oarseg.files import write_json
from oarseg.node.database import DEAD_LETTERS, NodeJob
from oarseg.node.log import say, short
from oarseg.node.spool import Spool

REASON = "reason.json"


def bury(spool: Spool, job_id: int) -> None:
    """Write a job's dead letter. Its state is on disk already, so ``restore`` writes it again if this fails."""
    job = next((j for j in spool.state.jobs(*DEAD_LETTERS) if j.id == job_id), None)
    if job is None:
        return
    see = str((_folder(spool, job) / REASON).relative_to(spool.root))
    say("dead letter", logging.ERROR, series=short(job.series), job=job.id, state=job.state, see=see)
    # No room for the letter: the state holds it, and the next start writes it.
    with contextlib.suppress(OSError, OutputError):
        _write(spool, job)


def restore(spool: Spool) -> None:
    """Make the folder agree with the state: after a crash between the two, and when a dead letter was tried again."""
    # Listed before the state is read: a letter that is written meanwhile stays.
    found = list((spool.root / "dead-letter").glob("*"))
    dead: dict[str, NodeJob] = {}
    for job in spool.state.jobs(*DEAD_LETTERS):
        last = spool.state.last_job(job.series)
        if not job.cleared and last and (last.id == job.id or last.cleared):
            dead[short(job.series)] = job
    with contextlib.suppress(OSError, OutputError):
        for folder in found:
            if folder.name not in dead:
                shutil.rmtree(folder, ignore_errors=True)
        for job in dead.values():
            if not (_folder(spool, job) / REASON).exists():
                _write(spool, job)


def _folder(spool: Spool, job: NodeJob) -> Path:
    return spool.root / "dead-letter" / short(job.series)


def _write(spool: Spool, job: NodeJob) -> None:
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
    write_json(folder / REASON, row, indent=2, durable=True)
