"""The SQLite database under :mod:`oarseg.node.state`: tables, rows as objects, transactions."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

_SCHEMA = """
create table if not exists series (key text primary key, pending integer not null, received real not null);
create table if not exists instance (
    series text not null, key text not null, bytes integer not null, here integer not null, fresh integer not null,
    primary key (series, key)) without rowid;
create table if not exists job (
    id integer primary key autoincrement, series text not null, state text not null, attempts integer not null,
    changed real not null, reason text not null default '', cleared integer not null default 0);
create table if not exists result (
    job integer not null, file text not null, sop_class text not null, sop_instance text not null,
    primary key (job, file));
create table if not exists delivery (
    job integer not null, destination text not null, state text not null, attempts integer not null,
    since real not null, due real not null, reason text not null default '', primary key (job, destination));
create index if not exists job_state on job (state);
create index if not exists job_series on job (series);
-- Queries of every second read the rows of what is on disk only, however much is remembered.
create index if not exists series_pending on series (key) where pending = 1;
create index if not exists instance_here on instance (series, bytes) where here = 1;
create index if not exists job_kept on job (state, changed) where cleared = 0;
"""


class JobState(StrEnum):
    """Where one contouring of a series stands; see :mod:`oarseg.node.state`."""

    WAITING = "waiting"
    SEGMENTING = "segmenting"
    SENDING = "sending"
    DELIVERED = "delivered"
    FAILED = "failed"
    UNDELIVERED = "undelivered"


# Jobs that need a person.
DEAD_LETTERS = (JobState.FAILED, JobState.UNDELIVERED)


class DeliveryState(StrEnum):
    """Where the results of a job stand on their way to one destination."""

    PENDING = "pending"
    DONE = "done"
    DEAD = "dead"


@dataclass(frozen=True)
class NodeJob:
    """One contouring of a series. ``changed``: when ``state`` last changed, seconds since 1970."""

    id: int
    series: str
    state: JobState
    attempts: int
    changed: float
    reason: str
    cleared: bool


@dataclass(frozen=True)
class Sending:
    """A job's results on their way to one destination. ``since``: time of the first try, seconds since 1970."""

    job: int
    series: str
    destination: str
    attempts: int
    since: float


@dataclass(frozen=True)
class ResultObject:
    """A DICOM object to be sent: its file's name in the job's folder, and its UIDs, which never change."""

    file: str
    sop_class: str
    sop_instance: str


class Database:
    """The database at ``path``, made if it is missing. Methods may be called from any thread."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._db.execute("pragma journal_mode = wal")
        # Every commit reaches the disk before it returns.
        self._db.execute("pragma synchronous = full")
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the file; nothing is lost without."""
        with self._lock:
            self._db.close()

    @contextmanager
    def change(self) -> Iterator[sqlite3.Connection]:
        """Run the block as one transaction, or as a part of the transaction around it: all of it or nothing."""
        with self._lock:
            if self._db.in_transaction:
                yield self._db
                return
            self._db.execute("begin immediate")
            try:
                yield self._db
                self._db.execute("commit")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("rollback")
                raise

    def _rows(self, sql: str, *values: object) -> list[tuple]:
        with self._lock:
            return self._db.execute(sql, values).fetchall()
