"""What is known of every series, job and delivery: an SQLite database that survives ``kill -9``.

A change is on disk when its method returns. What is known has hashes for names; only the reason of a dead letter, as
long as it is kept, may quote what was received.

A series is receiving while ``pending``. Once whole it makes a job if there are instances that no job had (``fresh``):

    waiting -> segmenting -> sending -> delivered
                    \\-> failed   \\-> undelivered        (both are dead letters)
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

from oarseg.node.database import Job, Result, Sending
from oarseg.node.instances import HERE, Instances

WAITING, SEGMENTING, SENDING, DELIVERED = "waiting", "segmenting", "sending", "delivered"
FAILED, UNDELIVERED = "failed", "undelivered"
STATES = (WAITING, SEGMENTING, SENDING, DELIVERED, FAILED, UNDELIVERED)
PENDING, DONE, DEAD = "pending", "done", "dead"


class State(Instances):
    """The database, as what is done with it. Methods may be called from any thread."""

    # Contouring.

    def complete(self, series: str, destinations: Sequence[str]) -> str:
        """The series is whole for now. Returns what that means.

        "new": a job is waiting. "again": what had failed, or had not been delivered, is tried again. "known": it
        brought nothing new.
        """
        with self.change() as db:
            db.execute("update series set pending = 0 where key = ?", (series,))
            fresh = db.execute("update instance set fresh = 0 where series = ? and fresh = 1", (series,)).rowcount
            last = self.last_job(series)
            if last and last.state == WAITING:
                return "new"
            if fresh or not last:
                self._add_job(series)
                return "new"
            return "again" if self.retry(series, destinations) else "known"

    def retry(self, series: str, destinations: Sequence[str]) -> bool:
        """Try a dead letter again, with the destinations there are now; False where it is none."""
        with self.change() as db:
            last = self.last_job(series)
            if not last or last.state not in (FAILED, UNDELIVERED):
                return False
            if last.state == UNDELIVERED and not last.cleared:
                db.execute("delete from delivery where job = ? and state = ?", (last.id, DEAD))
                self._deliver(last.id, destinations)
                return True
            # Its results are gone, or there never were any.
            if not self.count(series):
                return False
            self._add_job(series)
            return True

    def _add_job(self, series: str) -> None:
        with self.change() as db:
            db.execute(
                "insert into job (series, state, attempts, changed) values (?, ?, 0, ?)", (series, WAITING, time.time())
            )

    def jobs(self, *states: str) -> list[Job]:
        """Jobs in any of the states, oldest first."""
        marks = ", ".join("?" * len(states))
        return self._jobs(f"state in ({marks})", *states)

    def _jobs(self, condition: str, *values: object) -> list[Job]:
        columns = "id, series, state, attempts, changed, reason, cleared"
        rows = self._rows(f"select {columns} from job where {condition} order by id", *values)
        return [Job(*row[:6], bool(row[6])) for row in rows]

    def last_job(self, series: str) -> Job | None:
        """The newest job of a series."""
        return next(iter(self._jobs("id = (select max(id) from job where series = ?)", series)), None)

    def next_job(self) -> Job | None:
        """The oldest waiting job, now segmenting, its attempt counted.

        One at which the node has ended comes after the others. Series still being received are left waiting.
        """
        with self.change() as db:
            row = db.execute(
                "select job.id from job join series on series.key = job.series "
                "where job.state = ? and not series.pending order by job.attempts, job.id limit 1",
                (WAITING,),
            ).fetchone()
            if not row:
                return None
            db.execute("update job set attempts = attempts + 1 where id = ?", row)
            self.set_job(row[0], SEGMENTING)
            return next(job for job in self.jobs(SEGMENTING) if job.id == row[0])

    def set_job(self, job: int, state: str, reason: str = "") -> None:
        """Change a job's state."""
        values = (state, reason, time.time(), job)
        with self.change() as db:
            db.execute("update job set state = ?, reason = ?, changed = ? where id = ?", values)

    def wait_again(self, job: int, counted: bool = True) -> None:
        """Back to waiting; ``counted``: whether the attempt counts.

        A job that waits for the same series goes: both would take all the slices that are here.
        """
        with self.change() as db:
            db.execute(
                "delete from job where state = ? and series = (select series from job where id = ?)", (WAITING, job)
            )
            db.execute("update job set attempts = attempts - ? where id = ?", (not counted, job))
            self.set_job(job, WAITING)

    def contoured(self, job: int, results: Sequence[Result], destinations: Sequence[str]) -> None:
        """The results are on disk, and are to be sent."""
        with self.change() as db:
            db.executemany("insert into result values (?, ?, ?, ?)", [(job, *vars(r).values()) for r in results])
            self._deliver(job, destinations)

    def _deliver(self, job: int, destinations: Sequence[str]) -> None:
        """To every destination that does not have the results."""
        with self.change() as db:
            self.set_job(job, SENDING)
            db.executemany(
                "insert or ignore into delivery (job, destination, state, attempts, since, due) "
                "values (?, ?, ?, 0, ?, 0)",
                [(job, name, PENDING, time.time()) for name in destinations],
            )
            self._settle(job)

    # Sending.

    def results(self, job: int) -> list[Result]:
        """What a job made."""
        return [
            Result(*row)
            for row in self._rows("select file, sop_class, sop_instance from result where job = ? order by file", job)
        ]

    def due(self, destination: str, now: float, longest: float = math.inf) -> Sending | None:
        """What is to be sent to a destination next.

        What is due in more than ``longest`` seconds is due now: the clock was set back.
        """
        rows = self._rows(
            "select job, job.series, destination, delivery.attempts, since from delivery join job on job.id = job "
            "where destination = ? and delivery.state = ? and (due <= ? or due > ?) order by due, job limit 1",
            destination, PENDING, now, now + longest,
        )  # fmt: skip
        return Sending(*rows[0]) if rows else None

    def sent(self, job: int, destination: str) -> None:
        """A destination has taken all of a job's results."""
        self._end_delivery(job, destination, DONE, "")

    def not_sent(self, job: int, destination: str, reason: str, due: float) -> None:
        """To be tried again at ``due``, seconds since 1970."""
        with self.change() as db:
            db.execute(
                "update delivery set attempts = attempts + 1, reason = ?, due = ? where job = ? and destination = ?",
                (reason, due, job, destination),
            )

    def give_up(self, job: int, destination: str, reason: str) -> None:
        """Never sent."""
        self._end_delivery(job, destination, DEAD, reason)

    def _end_delivery(self, job: int, destination: str, state: str, reason: str) -> None:
        with self.change() as db:
            db.execute(
                "update delivery set state = ?, reason = ?, attempts = attempts + 1 where job = ? and destination = ?",
                (state, reason, job, destination),
            )
            self._settle(job)

    def _settle(self, job: int) -> None:
        """A job of which nothing is to be sent any longer is delivered, or not."""
        rows = self._rows("select destination, state, reason from delivery where job = ?", job)
        if all(row[1] != PENDING for row in rows):
            dead = [f"{row[0]}: {row[2]}" for row in rows if row[1] == DEAD]
            self.set_job(job, UNDELIVERED if dead else DELIVERED, "; ".join(dead))

    def strangers(self, destinations: Sequence[str]) -> list[tuple[int, str]]:
        """Deliveries under way to destinations that are no longer there."""
        rows = self._rows("select job, destination from delivery where state = ?", PENDING)
        return [row for row in rows if row[1] not in destinations]

    def queue(self) -> dict[str, int]:
        """Deliveries under way, by destination."""
        return dict(
            self._rows("select destination, count(*) from delivery where state = ? group by destination", PENDING)
        )

    # Retention.

    def settled(self, state: str, before: float) -> list[Job]:
        """Jobs in a state since before a time, whose files are still there."""
        return self._jobs("state = ? and cleared = 0 and changed <= ?", state, before)

    def overtaken(self) -> list[Job]:
        """Dead letters of series of which a later job, of all their slices, was delivered."""
        return self._jobs(
            "cleared = 0 and state in (?, ?) and exists (select 1 from job as later where later.series = job.series "
            "and later.id > job.id and later.state = ?)",
            FAILED, UNDELIVERED, DELIVERED,
        )  # fmt: skip

    def clear_job(self, job: int) -> None:
        """A job's results are no longer on disk. Its reason goes too: it may quote what the images said."""
        with self.change() as db:
            db.execute("update job set cleared = 1, reason = '' where id = ?", (job,))

    def busy(self, series: str) -> bool:
        """Whether a series is being received, or a job of it needs its images or may be tried again."""
        return bool(
            self._rows("select 1 from series where key = ? and pending = 1", series)
            or self._rows(
                "select 1 from job where series = ? and cleared = 0 and state <> ? limit 1", series, DELIVERED
            )
        )

    def idle_series(self) -> list[str]:
        """Series with images on disk of which nothing is going on and no job's files are kept."""
        rows = self._rows(
            f"select distinct series from {HERE} "
            "and series not in (select key from series where pending = 1) "
            "and series not in (select series from job where cleared = 0)"
        )
        return [row[0] for row in rows]

    def forget(self, before: float) -> int:
        """Forget series of which nothing is on disk and nothing came since; returns how many."""
        gone = (
            "select key from series where received < ? and pending = 0 and not exists "
            "(select 1 from instance where series = series.key and here = 1) and not exists "
            "(select 1 from job where job.series = series.key and cleared = 0)"
        )
        with self.change() as db:
            keys = [row[0] for row in db.execute(gone, (before,))]
            for key in keys:
                for table in ("result", "delivery"):
                    db.execute(f"delete from {table} where job in (select id from job where series = ?)", (key,))
                for table, column in (("instance", "series"), ("job", "series"), ("series", "key")):
                    db.execute(f"delete from {table} where {column} = ?", (key,))
        return len(keys)

    # Telling.

    def totals(self) -> dict[str, int]:
        """Series being received, and jobs, by state."""
        counted = dict(self._rows("select state, count(*) from job group by state"))
        return {"receiving": len(self.pending())} | {state: counted.get(state, 0) for state in STATES}

    def oldest_unfinished(self) -> float | None:
        """Since when the job that has been under way longest is in its state, seconds since 1970."""
        return self._rows("select min(changed) from job where state in (?, ?, ?)", WAITING, SEGMENTING, SENDING)[0][0]

    def find(self, short: str) -> list[str]:
        """Series whose name begins so."""
        return [row[0] for row in self._rows("select key from series where substr(key, 1, ?) = ?", len(short), short)]
