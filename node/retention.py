"""What is deleted, and when: images and results once delivered, dead letters after a while, then all memory of them."""

from __future__ import annotations

import time

from oarseg.node.config import Retention
from oarseg.node.dead_letter import restore
from oarseg.node.log import say, short
from oarseg.node.spool import Spool
from oarseg.node.state import DELIVERED, FAILED, UNDELIVERED

HOUR, DAY = 3600.0, 86400.0


def keep_to(rules: Retention, spool: Spool, now: float | None = None) -> None:
    """Delete what is due at ``now``, seconds since 1970."""
    now = time.time() if now is None else now
    for job in spool.state.settled(DELIVERED, now - rules.delivered_hours * HOUR):
        spool.drop_results(job.id)
    for state in (FAILED, UNDELIVERED):
        for job in spool.state.settled(state, now - rules.dead_letter_days * DAY):
            spool.drop_results(job.id)
    for job in spool.state.overtaken():
        spool.drop_results(job.id)
    for series in spool.state.idle_series():
        spool.drop_series(series)
        say("deleted", series=short(series))
    spool.state.forget(now - rules.remember_days * DAY)
    restore(spool)
