"""The spool: a folder that holds received images until their results are delivered. No crash loses any of them.

    node.db                         state (see oarseg.node.state)
    series/<series>/<instance>.dcm  as received
    results/<job>/                  what was contoured and is to be sent
    dead-letter/<series>/           reason.json, and a link to the images
    work/<job>/, incoming/          under way; removed at the start

An instance is written to ``incoming``, flushed to the disk, renamed to its place, its folder flushed, its row
committed, and only then acknowledged. Names are SHA-256 of UIDs, so nothing that a peer sends becomes part of a path.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sqlite3
import threading
import uuid
from pathlib import Path

from oarseg.errors import ConfigError, OarsegError, OutputError
from oarseg.files import flush
from oarseg.identity import uid_hash
from oarseg.node.config import GIB, MIB, Limits
from oarseg.node.database import JobState
from oarseg.node.state import NodeState

try:
    import fcntl
except ImportError:  # Windows: two nodes on one spool are then not noticed.
    fcntl = None  # type: ignore[assignment]

NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


OUT_OF_RESOURCES = 0xA700


class Refused(OarsegError):
    """An instance that is not accepted, and is not lost: the sender still has it. ``status``: of C-STORE."""

    def __init__(self, reason: str, status: int = OUT_OF_RESOURCES) -> None:
        super().__init__(reason)
        self.status = status


class Spool:
    """The spool at ``root``, made if it is missing. Raises OutputError (not writable) or ConfigError (in use)."""

    def __init__(self, root: Path, limits: Limits) -> None:
        self.root, self.limits = root, limits
        self.lock = threading.RLock()
        try:
            # Patients' images: for the node's user alone, unless an administrator made the folder.
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            for name in ("series", "results", "dead-letter", "work", "incoming"):
                (root / name).mkdir(exist_ok=True)
            flush(root)
            self._claim = _claimed(root)
            self.state = NodeState(root / "node.db")
            self._sweep()
        except (OSError, sqlite3.Error) as error:
            reason = getattr(error, "strerror", None) or error
            raise OutputError(f"spool {root} cannot be used ({reason}); give a folder that can be written") from error
        # Of all instances on disk.
        self.bytes = self.state.spool_bytes()

    def close(self) -> None:
        """Release the folder for another node."""
        self.state.close()
        self._claim.close()

    def free(self) -> int:
        """Return the bytes free on the disk."""
        return shutil.disk_usage(self.root).free

    def store(self, series_uid: str, instance_uid: str, content: bytes) -> bool:
        """Keep an instance; False where it is here already. Raises Refused; then nothing is left of it.

        New content under a known UID replaces the old one: a slice that came damaged is mended by sending it again.
        """
        series, instance = uid_hash(series_uid), uid_hash(instance_uid)
        partial = self.root / "incoming" / uuid.uuid4().hex
        try:
            with self.lock:
                if self._known(series, instance, content):
                    return False
                self._check_room(series, len(content))
            self._write(partial, content)
            # Together, so that retention never deletes a file between its renaming and its row.
            with self.lock:
                # It may have come over two associations at once.
                if self._known(series, instance, content):
                    return False
                if self.state.is_here(series, instance):
                    # Before its file: after a crash between the two there is a job too many, not one too few.
                    self.state.add_instance(series, instance, len(content))
                self.bytes += len(content) - self._place(partial, series, instance)
                self.state.add_instance(series, instance, len(content))
        except (OSError, sqlite3.Error) as error:
            room = getattr(error, "errno", None) in NO_ROOM or "full" in str(error)
            raise Refused("no space left on the disk" if room else "the spool cannot be written") from error
        finally:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)
        return True

    def _known(self, series: str, instance: str, content: bytes) -> bool:
        path = self._path(series, instance)
        known = self.state.is_here(series, instance) and path.is_file() and path.read_bytes() == content
        if known:
            self.state.touch(series)
        return known

    def _path(self, series: str, instance: str) -> Path:
        return self.root / "series" / series / f"{instance}.dcm"

    def _check_room(self, series: str, size: int) -> None:
        limits = self.limits
        if size > limits.instance_mib * MIB:
            raise Refused(f"the instance is larger than {limits.instance_mib:g} MiB")
        if self.state.count(series) >= limits.series_instances:
            raise Refused(f"the series has more than {limits.series_instances} instances")
        if self.bytes + size > limits.spool_gib * GIB:
            raise Refused("the spool is full")
        if self.free() - size < limits.free_gib * GIB:
            raise Refused("too little space left on the disk")

    def _write(self, partial: Path, content: bytes) -> None:
        with open(partial, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())

    def _place(self, partial: Path, series: str, instance: str) -> int:
        """Move a file to its place. Returns the bytes of the file that it replaced."""
        path = self._path(series, instance)
        if not path.parent.is_dir():
            path.parent.mkdir()
            flush(path.parent.parent)
        before = path.stat().st_size if path.is_file() else 0
        partial.replace(path)
        flush(path.parent)
        return before

    def lay_out(self, job: int, series: str) -> Path:
        """Return a new folder of a job with links to its images; later images do not enter it."""
        work = self.root / "work" / str(job)
        shutil.rmtree(work, ignore_errors=True)
        (work / "ct").mkdir(parents=True)
        for name in self.state.instances(series):
            source, link = self._path(series, name), work / "ct" / f"{name}.dcm"
            try:
                os.link(source, link)
            except OSError as error:  # a disk without hard links
                if error.errno in NO_ROOM:
                    raise
                shutil.copyfile(source, link)
        return work

    def keep_results(self, job: int, files: list[Path]) -> Path:
        """Move a job's results to their place, on disk when this returns."""
        place, staged = self.results(job), self.root / "work" / f"{job}.results"
        shutil.rmtree(staged, ignore_errors=True)
        shutil.rmtree(place, ignore_errors=True)
        staged.mkdir()
        for path in files:
            path.replace(staged / path.name)
            flush(staged / path.name)
        flush(staged)
        staged.replace(place)
        flush(place.parent)
        return place

    def results(self, job: int) -> Path:
        """Return the folder of a job's results."""
        return self.root / "results" / str(job)

    def drop_results(self, job: int) -> None:
        """Delete a job's results."""
        self.state.clear_job(job)
        shutil.rmtree(self.results(job), ignore_errors=True)

    def drop_series(self, series: str) -> None:
        """Delete a series's images, unless they are still needed."""
        with self.lock:
            if self.state.busy(series):
                return
            self.state.clear_series(series)
            shutil.rmtree(self.root / "series" / series, ignore_errors=True)
            self.bytes = self.state.spool_bytes()

    def drop_work(self, job: int) -> None:
        """Delete a job's unfinished files."""
        shutil.rmtree(self.root / "work" / str(job), ignore_errors=True)

    def _sweep(self) -> None:
        """Remove unfinished files of an earlier run: unacknowledged instances, and results that can be made again."""
        for name in ("work", "incoming"):
            for path in (self.root / name).iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        known = self.state.all_here()
        for folder in (self.root / "series").iterdir():
            for path in folder.iterdir():
                if (folder.name, path.stem) not in known:
                    path.unlink()
            with contextlib.suppress(OSError):
                folder.rmdir()
        with_results = self.state.jobs(JobState.SENDING, JobState.DELIVERED, JobState.UNDELIVERED)
        kept = {str(job.id) for job in with_results if not job.cleared}
        for path in (self.root / "results").iterdir():
            if path.name not in kept:
                shutil.rmtree(path)


def _claimed(root: Path):
    """An open file that is locked as long as the node lives."""
    file = open(root / "lock", "ab")  # noqa: SIM115 - closed by the spool
    if fcntl:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.close()
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            raise ConfigError(f"spool {root} is in use by another node; end it, or give another folder") from error
    return file
