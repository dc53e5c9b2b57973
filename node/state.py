"""What is known of every series, job and delivery: an SQLite database that survives ``kill -9``.

A change is on disk when its method returns. No UID of what was received enters it: what is known has hashes for names.

A series is receiving while ``pending``. Once whole it makes a job if there are instances that no job had (``fresh``):

    waiting -> segmenting -> sending -> delivered
                    \\-> failed   \\-> undelivered        (both are dead letters)
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from oarseg.node.database import Database, Job, Result, Sending

WAITING, SEGMENTING, SENDING, DELIVERED = "waiting", "segmenting", "sending", "delivered"
FAILED, UNDELIVERED = "failed", "undelivered"
STATES = (WAITING, SEGMENTING, SENDING, DELIVERED, FAILED, UNDELIVERED)
PENDING, DONE, DEAD = "pending", "done", "dead"


class State(Database):
    """The database, as what is done with it. Methods may be called from any thread."""

    # Receiving.

    def add_instance(self, series: str, key: str, size: int) -> None:
        """An instance whose file is on disk. One that was here before, and was deleted since, is not fresh."""
        with self.change() as db:
            db.execute(
                "insert into series values (?, 1, ?) "
                "on conflict (key) do update set pending = 1, received = excluded.received",
                (series, time.time()),
            )
            db.execute(
                "insert into instance values (?, ?, ?, 1, 1) "
                "on conflict (series, key) do update set here = 1, bytes = excluded.bytes",
                (series, key, size),
            )

    def touch(self, series: str) -> None:
        """A duplicate came: the series is looked at again when its sender is done."""
        with self.change() as db:
            db.execute("update series set pending = 1, received = ? where key = ?", (time.time(), series))

    def is_here(self, series: str, key: str) -> bool:
        """Whether an instance is on disk."""
        return bool(self._rows("select 1 from instance where series = ? and key = ? and here = 1", series, key))

    def count(self, series: str) -> int:
        """Instances of a series on disk."""
        return self._rows("select count(*) from instance where series = ? and here = 1", series)[0][0]

    def instances(self, series: str) -> list[str]:
        """Names of the instances of a series on disk, those of its jobs."""
        return [r[0] for r in self._rows("select key from instance where series = ? and here and not fresh", series)]

    def all_here(self) -> set[tuple[str, str]]:
        """Series and instance of everything on disk."""
        return set(self._rows("select series, key from instance where here = 1"))

    def spool_bytes(self) -> int:
        """Bytes of all instances on disk."""
        return self._rows("select coalesce(sum(bytes), 0) from instance where here = 1")[0][0]

    def pending(self) -> list[tuple[str, float]]:
        """Series that are being received, and when the last instance of each came."""
        return self._rows("select key, received from series where pending = 1")

    def complete(self, series: str) -> str:
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
            return "again" if self.retry(series) else "known"

    def retry(self, series: str) -> bool:
        """Try a dead letter again; False where it is none."""
        with self.change() as db:
            last = self.last_job(series)
            if last and last.state == FAILED and self.count(series):
                self._add_job(series)
                return True
            if last and last.state == UNDELIVERED and not last.cleared:
                self.set_job(last.id, SENDING)
                db.execute(
                    "update delivery set state = ?, attempts = 0, due = 0, since = ?, reason = '' "
                    "where job = ? and state = ?",
                    (PENDING, time.time(), last.id, DEAD),
                )
                return True
            return False

    def _add_job(self, series: str) -> None:
        with self.change() as db:
            db.execute(
                "insert into job (series, state, attempts, changed) values (?, ?, 0, ?)", (series, WAITING, time.time())
            )

    # Contouring.

    def jobs(self, *states: str) -> list[Job]:
        """Jobs in any of the states, oldest first."""
        marks = ", ".join("?" * len(states))
        rows = self._rows(
            f"select id, series, state, attempts, changed, reason, cleared from job where state in ({marks}) "
            "order by id",
            *states,
        )
        return [Job(*row[:6], bool(row[6])) for row in rows]

    def last_job(self, series: str) -> Job | None:
        """The newest job of a series."""
        rows = self._rows(
            "select id, series, state, attempts, changed, reason, cleared from job where series = ? "
            "order by id desc limit 1",
            series,
        )
        return Job(*rows[0][:6], bool(rows[0][6])) if rows else None

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

    def uncount(self, job: int) -> None:
        """An attempt that was not the case's fault: back to waiting."""
        with self.change() as db:
            db.execute("update job set attempts = attempts - 1 where id = ?", (job,))
            self.set_job(job, WAITING)

    def contoured(self, job: int, results: Sequence[Result], destinations: Sequence[str]) -> None:
        """The results are on disk, and are to be sent."""
        now = time.time()
        with self.change() as db:
            self.set_job(job, SENDING)
            db.executemany("insert into result values (?, ?, ?, ?)", [(job, *vars(r).values()) for r in results])
            db.executemany(
                "insert into delivery (job, destination, state, attempts, since, due) values (?, ?, ?, 0, ?, 0)",
                [(job, name, PENDING, now) for name in destinations],
            )

    # Sending.

    def results(self, job: int) -> list[Result]:
        """What a job made."""
        return [
            Result(*row)
            for row in self._rows("select file, sop_class, sop_instance from result where job = ? order by file", job)
        ]

    def due(self, destination: str, now: float) -> Sending | None:
        """What is to be sent to a destination next."""
        rows = self._rows(
            "select job, job.series, destination, delivery.attempts, since from delivery join job on job.id = job "
            "where destination = ? and delivery.state = ? and due <= ? order by due, job limit 1",
            destination, PENDING, now,
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
            rows = db.execute("select destination, state, reason from delivery where job = ?", (job,)).fetchall()
            if all(row[1] != PENDING for row in rows):
                dead = [f"{row[0]}: {row[2]}" for row in rows if row[1] == DEAD]
                self.set_job(job, UNDELIVERED if dead else DELIVERED, "; ".join(dead))
                if not dead:
                    # Earlier failures of the series are of no interest any longer.
                    db.execute(
                        "update job set cleared = 1 where state = ? and id < ? and series = "
                        "(select series from job where id = ?)",
                        (FAILED, job, job),
                    )

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
        return [job for job in self.jobs(state) if not job.cleared and job.changed <= before]

    def clear_job(self, job: int) -> None:
        """A job's results are no longer on disk."""
        with self.change() as db:
            db.execute("update job set cleared = 1 where id = ?", (job,))

    def clear_series(self, series: str) -> None:
        """No instance of it is on disk any longer."""
        with self.change() as db:
            db.execute("update instance set here = 0 where series = ?", (series,))

    def busy(self, series: str) -> bool:
        """Whether a series is being received, or a job of it needs its images or may be tried again."""
        return bool(
            self._rows("select 1 from series where key = ? and pending = 1", series)
            or self._rows(
                "select 1 from job where series = ? and not cleared and state <> ? limit 1", series, DELIVERED
            )
        )

    def idle_series(self) -> list[str]:
        """Series with images on disk of which nothing is going on and no job's files are kept."""
        rows = self._rows(
            "select key from series where pending = 0 and exists "
            "(select 1 from instance where series = series.key and here = 1) and not exists "
            "(select 1 from job where job.series = series.key and not cleared)"
        )
        return [row[0] for row in rows]

    def forget(self, before: float) -> int:
        """Forget series of which nothing is on disk and nothing came since; returns how many."""
        gone = (
            "select key from series where received < ? and pending = 0 and not exists "
            "(select 1 from instance where series = series.key and here = 1) and not exists "
            "(select 1 from job where job.series = series.key and not cleared)"
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
