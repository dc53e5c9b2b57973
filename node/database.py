"""The SQLite database under :mod:`oarseg.node.state`: its tables, its rows as objects, its transactions."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
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
-- What is asked every second touches what is on disk only, however much is remembered.
create index if not exists series_pending on series (key) where pending = 1;
create index if not exists instance_here on instance (series, bytes) where here = 1;
create index if not exists job_kept on job (state, changed) where cleared = 0;
"""


@dataclass(frozen=True)
class Job:
    """One contouring of a series. ``changed``: when its state did, seconds since 1970."""

    id: int
    series: str
    state: str
    attempts: int
    changed: float
    reason: str
    cleared: bool


@dataclass(frozen=True)
class Sending:
    """One job's results on their way to one destination. ``since``: of the first try, seconds since 1970."""

    job: int
    series: str
    destination: str
    attempts: int
    since: float


@dataclass(frozen=True)
class Result:
    """One object to be sent: its file's name in the job's folder, and the UIDs it has for ever."""

    file: str
    sop_class: str
    sop_instance: str


class Database:
    """The database at ``path``, made where it is missing. Methods may be called from any thread."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._db.execute("pragma journal_mode = wal")
        # Every commit reaches the disk before it returns.
        self._db.execute("pragma synchronous = full")
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        """Close it; nothing is lost without."""
        with self._lock:
            self._db.close()

    @contextmanager
    def change(self) -> Iterator[sqlite3.Connection]:
        """A transaction: all of it or nothing. It may stand within another one."""
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
