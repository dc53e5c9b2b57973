"""The part of :mod:`oarseg.node.state` that knows the instances: which are on disk, and which no job had yet."""

from __future__ import annotations

import time

from oarseg.node.database import Database

# SQLite would look at all that is remembered.
HERE = "instance indexed by instance_here where here = 1"


class Instances(Database):
    """The received instances. A change is on disk when its method returns."""

    def add_instance(self, series: str, key: str, size: int) -> None:
        """Add an instance whose file is on disk. One that was here before, and was deleted since, is not fresh.

        One that is here already is fresh: its content differs from what jobs had.
        """
        with self.change() as db:
            db.execute(
                "insert into series values (?, 1, ?) "
                "on conflict (key) do update set pending = 1, received = excluded.received",
                (series, time.time()),
            )
            db.execute(
                "insert into instance values (?, ?, ?, 1, 1) "
                "on conflict (series, key) do update set fresh = max(fresh, here), here = 1, bytes = excluded.bytes",
                (series, key, size),
            )

    def touch(self, series: str) -> None:
        """Note that a duplicate came: the series is looked at again when its sender is done."""
        with self.change() as db:
            db.execute("update series set pending = 1, received = ? where key = ?", (time.time(), series))

    def is_here(self, series: str, key: str) -> bool:
        """Return whether an instance is on disk."""
        return bool(self._rows("select 1 from instance where series = ? and key = ? and here = 1", series, key))

    def count(self, series: str) -> int:
        """Return how many instances of a series are on disk."""
        return self._rows("select count(*) from instance where series = ? and here = 1", series)[0][0]

    def instances(self, series: str) -> list[str]:
        """Return the names of a series's instances on disk that its jobs have."""
        return [r[0] for r in self._rows("select key from instance where series = ? and here and not fresh", series)]

    def all_here(self) -> set[tuple[str, str]]:
        """Return series and instance of every file on disk."""
        return set(self._rows(f"select series, key from {HERE}"))

    def spool_bytes(self) -> int:
        """Return the bytes of all instances on disk."""
        return self._rows(f"select coalesce(sum(bytes), 0) from {HERE}")[0][0]

    def pending(self) -> list[str]:
        """Return the series being received; the one to which nothing came for longest is first."""
        return [row[0] for row in self._rows("select key from series where pending = 1 order by received")]

    def clear_series(self, series: str) -> None:
        """Note that no instance of a series is on disk any longer."""
        with self.change() as db:
            db.execute("update instance set here = 0 where series = ?", (series,))
