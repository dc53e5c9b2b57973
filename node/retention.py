"""What is deleted when: images and results once delivered, dead letters later, records of a series last."""

from __future__ import annotations

import time

from oarseg.node.config import Retention
from oarseg.node.database import DEAD_LETTERS, JobState
from oarseg.node.dead_letter import restore
from oarseg.node.log import say, short
from oarseg.node.spool import Spool

HOUR, DAY = 3600.0, 86400.0


def keep_to(rules: Retention, spool: Spool, now: float | None = None) -> None:
    """Delete what is due at ``now``, seconds since 1970."""
    now = time.time() if now is None else now
    delivered = spool.state.settled(now - rules.delivered_hours * HOUR, JobState.DELIVERED)
    dead = spool.state.settled(now - rules.dead_letter_days * DAY, *DEAD_LETTERS)
    for job in (*delivered, *dead, *spool.state.overtaken()):
        spool.drop_results(job.id)
    for series in spool.state.idle_series():
        spool.drop_series(series)
        say("deleted", series=short(series))
    spool.state.forget(now - rules.remember_days * DAY)
    restore(spool)
