"""State of every series, job and delivery: an SQLite database that survives ``kill -9``.

A change is on disk when its method returns. Series and instances are named by hashes; only the reason of a dead letter
may quote what was received, as long as the letter is kept.

A series is receiving while ``pending``. Once whole it makes a job if there are instances that no job had (``fresh``):

    waiting -> segmenting -> sending -> delivered
                    \\-> failed   \\-> undelivered        (both are dead letters)
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

from oarseg.node.database import DEAD_LETTERS, DeliveryState, JobState, NodeJob, ResultObject, Sending
from oarseg.node.instances import HERE, Instances


class NodeState(Instances):
    """The database by what the node does with it. Methods may be called from any thread."""

    # Contouring.

    def complete(self, series: str, destinations: Sequence[str]) -> str:
        """Note that a series is whole for now. Returns what that means.

        "new": a job is waiting. "again": what had failed, or had not been delivered, is tried again. "known": it
        brought nothing new.
        """
        with self.change() as db:
            db.execute("update series set pending = 0 where key = ?", (series,))
            fresh = db.execute("update instance set fresh = 0 where series = ? and fresh = 1", (series,)).rowcount
            last = self.last_job(series)
            if last and last.state == JobState.WAITING:
                return "new"
            if fresh or not last:
                self._add_job(series)
                return "new"
            return "again" if self.retry(series, destinations) else "known"

    def retry(self, series: str, destinations: Sequence[str]) -> bool:
        """Try a dead letter again with the present destinations. Returns False where the series has none."""
        with self.change() as db:
            last = self.last_job(series)
            if not last or last.state not in DEAD_LETTERS:
                return False
            if last.state == JobState.UNDELIVERED and not last.cleared:
                db.execute("delete from delivery where job = ? and state = ?", (last.id, DeliveryState.DEAD))
                self._deliver(last.id, destinations)
                return True
            # Its results are gone, or there never were any.
            if not self.count(series):
                return False
            self._add_job(series)
            return True

    def _add_job(self, series: str) -> None:
        values = (series, JobState.WAITING, time.time())
        self._rows("insert into job (series, state, attempts, changed) values (?, ?, 0, ?)", *values)

    def jobs(self, *states: str) -> list[NodeJob]:
        """Return the jobs in any of the states, oldest first."""
        marks = ", ".join("?" * len(states))
        return self._jobs(f"state in ({marks})", *states)

    def _jobs(self, condition: str, *values: object) -> list[NodeJob]:
        columns = "id, series, state, attempts, changed, reason, cleared"
        rows = self._rows(f"select {columns} from job where {condition} order by id", *values)
        return [NodeJob(*row[:2], JobState(row[2]), *row[3:6], bool(row[6])) for row in rows]

    def last_job(self, series: str) -> NodeJob | None:
        """Return the newest job of a series."""
        return next(iter(self._jobs("id = (select max(id) from job where series = ?)", series)), None)

    def next_job(self) -> NodeJob | None:
        """Return the oldest waiting job, now segmenting, its attempt counted.

        A job during which the node ended comes after the others. Series still being received are left waiting.
        """
        with self.change() as db:
            row = db.execute(
                "select job.id from job join series on series.key = job.series "
                "where job.state = ? and not series.pending order by job.attempts, job.id limit 1",
                (JobState.WAITING,),
            ).fetchone()
            if not row:
                return None
            db.execute("update job set attempts = attempts + 1 where id = ?", row)
            self.set_job(row[0], JobState.SEGMENTING)
            return next(job for job in self.jobs(JobState.SEGMENTING) if job.id == row[0])

    def set_job(self, job: int, state: str, reason: str = "") -> None:
        """Change a job's state."""
        values = (state, reason, time.time(), job)
        with self.change() as db:
            db.execute("update job set state = ?, reason = ?, changed = ? where id = ?", values)

    def wait_again(self, job: int, counted: bool = True) -> None:
        """Let a job wait again; ``counted``: whether the attempt counts.

        Another waiting job of the same series is deleted: both would contour all slices that are here.
        """
        with self.change() as db:
            db.execute(
                "delete from job where state = ? and series = (select series from job where id = ?)",
                (JobState.WAITING, job),
            )
            db.execute("update job set attempts = attempts - ? where id = ?", (not counted, job))
            self.set_job(job, JobState.WAITING)

    def contoured(self, job: int, results: Sequence[ResultObject], destinations: Sequence[str]) -> None:
        """Note that the results of a job are on disk; they are then sent."""
        with self.change() as db:
            db.executemany("insert into result values (?, ?, ?, ?)", [(job, *vars(r).values()) for r in results])
            self._deliver(job, destinations)

    def _deliver(self, job: int, destinations: Sequence[str]) -> None:
        """Send a job's results to every destination that does not have them."""
        with self.change() as db:
            self.set_job(job, JobState.SENDING)
            db.executemany(
                "insert or ignore into delivery (job, destination, state, attempts, since, due) "
                "values (?, ?, ?, 0, ?, 0)",
                [(job, name, DeliveryState.PENDING, time.time()) for name in destinations],
            )
            self._settle(job)

    # Sending.

    def results(self, job: int) -> list[ResultObject]:
        """Return the objects that a job made."""
        rows = self._rows("select file, sop_class, sop_instance from result where job = ? order by file", job)
        return [ResultObject(*row) for row in rows]

    def due(self, destination: str, now: float, longest: float = math.inf) -> Sending | None:
        """Return what to send to a destination next.

        A time further ahead than ``longest`` seconds counts as due: the clock was set back.
        """
        rows = self._rows(
            "select job, job.series, destination, delivery.attempts, since from delivery join job on job.id = job "
            "where destination = ? and delivery.state = ? and (due <= ? or due > ?) order by due, job limit 1",
            destination, DeliveryState.PENDING, now, now + longest,
        )  # fmt: skip
        return Sending(*rows[0]) if rows else None

    def not_sent(self, job: int, destination: str, reason: str, due: float) -> None:
        """Note a failed try, and that the next one is at ``due``, seconds since 1970."""
        with self.change() as db:
            db.execute(
                "update delivery set attempts = attempts + 1, reason = ?, due = ? where job = ? and destination = ?",
                (reason, due, job, destination),
            )

    def end_delivery(self, job: int, destination: str, state: DeliveryState, reason: str = "") -> None:
        """Note that a destination has taken all of a job's results (DONE), or will never be sent them (DEAD)."""
        with self.change() as db:
            db.execute(
                "update delivery set state = ?, reason = ?, attempts = attempts + 1 where job = ? and destination = ?",
                (state, reason, job, destination),
            )
            self._settle(job)

    def _settle(self, job: int) -> None:
        """Set the final state of a job once no delivery of it is pending."""
        rows = self._rows("select destination, state, reason from delivery where job = ?", job)
        if all(row[1] != DeliveryState.PENDING for row in rows):
            dead = [f"{row[0]}: {row[2]}" for row in rows if row[1] == DeliveryState.DEAD]
            self.set_job(job, JobState.UNDELIVERED if dead else JobState.DELIVERED, "; ".join(dead))

    def strangers(self, destinations: Sequence[str]) -> list[tuple[int, str]]:
        """Return job and name of pending deliveries to destinations other than these."""
        rows = self._rows("select job, destination from delivery where state = ?", DeliveryState.PENDING)
        return [row for row in rows if row[1] not in destinations]

    def queue(self) -> dict[str, int]:
        """Return the number of pending deliveries by destination."""
        counted = "select destination, count(*) from delivery where state = ? group by destination"
        return dict(self._rows(counted, DeliveryState.PENDING))

    # Retention.

    def settled(self, before: float, *states: JobState) -> list[NodeJob]:
        """Return jobs in one of the states since before a time, whose files are still there."""
        kept = "state = ? and cleared = 0 and changed <= ?"
        return [job for state in states for job in self._jobs(kept, state, before)]

    def overtaken(self) -> list[NodeJob]:
        """Return dead letters of series of which a later job, of all slices, was delivered."""
        return self._jobs(
            "cleared = 0 and state in (?, ?) and exists (select 1 from job as later where later.series = job.series "
            "and later.id > job.id and later.state = ?)",
            *DEAD_LETTERS, JobState.DELIVERED,
        )  # fmt: skip

    def clear_job(self, job: int) -> None:
        """Note that a job's results are deleted. Its reason goes too: it may quote the images."""
        with self.change() as db:
            db.execute("update job set cleared = 1, reason = '' where id = ?", (job,))

    def busy(self, series: str) -> bool:
        """Return whether a series is being received, or a job needs its images or may be tried again."""
        return bool(
            self._rows("select 1 from series where key = ? and pending = 1", series)
            or self._rows(
                "select 1 from job where series = ? and cleared = 0 and state <> ? limit 1", series, JobState.DELIVERED
            )
        )

    def idle_series(self) -> list[str]:
        """Return series with images on disk that are not being received and of which no job's files are kept."""
        rows = self._rows(
            f"select distinct series from {HERE} "
            "and series not in (select key from series where pending = 1) "
            "and series not in (select series from job where cleared = 0)"
        )
        return [row[0] for row in rows]

    def forget(self, before: float) -> None:
        """Forget series without files to which nothing came since a time."""
        gone = (
            "select key from series where received < ? and pending = 0 and not exists "
            "(select 1 from instance where series = series.key and here = 1) and not exists "
            "(select 1 from job where job.series = series.key and cleared = 0)"
        )
        with self.change() as db:
            for key in [row[0] for row in db.execute(gone, (before,))]:
                for table in ("result", "delivery"):
                    db.execute(f"delete from {table} where job in (select id from job where series = ?)", (key,))
                for table, column in (("instance", "series"), ("job", "series"), ("series", "key")):
                    db.execute(f"delete from {table} where {column} = ?", (key,))

    # Reporting.

    def totals(self) -> dict[str, int]:
        """Return the number of series being received, and of jobs by state."""
        counted = dict(self._rows("select state, count(*) from job group by state"))
        return {"receiving": len(self.pending())} | {state: counted.get(state, 0) for state in JobState}

    def oldest_unfinished(self) -> float | None:
        """Return since when the oldest unfinished job is in its state, seconds since 1970; None without one."""
        unfinished = (JobState.WAITING, JobState.SEGMENTING, JobState.SENDING)
        return self._rows("select min(changed) from job where state in (?, ?, ?)", *unfinished)[0][0]
