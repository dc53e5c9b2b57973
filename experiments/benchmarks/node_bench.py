"""A real ``oarseg serve`` with an archive to send to, for ``node_faults.py`` and the tests.

Its networks are the real ones, of one organ; its CT is the embedded one with new UIDs.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, RTStructureSetStorage, generate_uid
from pynetdicom import AE, evt
from pynetdicom.sop_class import CTImageStorage

import oarseg.demo

SETTINGS = """
[node]
ae_title = "OARSEG"
address = "127.0.0.1"
port = {port}
spool = "{spool}"
quiet_seconds = {quiet}
[allow]
ae_titles = ["SCANNER"]
[limits]
free_gib = {free}
idle_seconds = {idle}
associations = {associations}
[segment]
organs = ["mandible"]
device = "cpu"
[delivery]
first_retry_seconds = {retry[0]}
longest_retry_seconds = {retry[1]}
[http]
port = 0
[[destination]]
name = "planning"
ae_title = "PLANNING"
host = "127.0.0.1"
port = {archive}
"""


@dataclass
class Bench:
    """A node's process, an archive, and what was acknowledged.

    ``hold``: seconds until the archive answers, ``hold_association``: until it takes the association. ``retry``: first
    and longest seconds between tries to deliver. ``hour``: seconds that a destination is down where a row says an
    hour. ``requested``: associations that the archive was asked for. ``peak_mib``: highest resident memory of the node
    (Linux only).
    """

    folder: Path
    quiet: float = 4.0
    free: float = 0.0
    hold: float = 0.0
    hold_association: float = 0.0
    retry: tuple[float, float] = (0.5, 2)
    associations: int = 20
    idle: float = 60
    hour: float = 3600
    spool: str = "spool"
    peak_mib: float = 0.0
    acked: dict[str, set[str]] = field(default_factory=dict)
    got: list[Dataset] = field(default_factory=list)
    requested: int = 0
    process: subprocess.Popen | None = None
    archive: AE | None = None

    def __post_init__(self) -> None:
        self.port, self.archive_port = free_port(), free_port()
        self.open_archive()

    def start(self) -> None:
        """Start the node, and wait until it listens."""
        text = SETTINGS.format(
            port=self.port, archive=self.archive_port, quiet=self.quiet, free=self.free, spool=self.spool,
            retry=self.retry, associations=self.associations, idle=self.idle,
        )  # fmt: skip
        (self.folder / "node.toml").write_text(text)
        with open(self.folder / "node.log", "ab") as log:
            command = [sys.executable, "-m", "oarseg.cli", "serve", str(self.folder / "node.toml")]
            self.process = subprocess.Popen(command, stderr=log, cwd=self.folder)
        wait_for(self._listens, 180)

    def _listens(self) -> bool:
        assert self.process and self.process.poll() is None, (self.folder / "node.log").read_text()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    def kill(self) -> None:
        """SIGKILL."""
        assert self.process
        self._note_peak()
        self.process.kill()
        self.process.wait()

    def end(self) -> int:
        """SIGTERM; the exit code."""
        assert self.process
        self._note_peak()
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(120)

    def _note_peak(self) -> None:
        assert self.process
        with contextlib.suppress(OSError):
            status = Path(f"/proc/{self.process.pid}/status").read_text()
            rows = [line.split() for line in status.splitlines() if line.startswith("VmHWM")]
            self.peak_mib = max(self.peak_mib, *(int(row[1]) / 1024 for row in rows)) if rows else self.peak_mib

    def open_archive(self) -> None:
        """Let the archive listen."""
        self.archive = AE("PLANNING")
        self.archive.add_supported_context(RTStructureSetStorage, [ExplicitVRLittleEndian])
        handlers = [(evt.EVT_C_STORE, self._take), (evt.EVT_REQUESTED, self._request)]
        self.archive.start_server(("127.0.0.1", self.archive_port), block=False, evt_handlers=handlers)

    def close_archive(self) -> None:
        """Let it be down."""
        if self.archive:
            self.archive.shutdown()
            self.archive = None

    def _request(self, event: evt.Event) -> None:
        self.requested += 1
        time.sleep(self.hold_association)

    def _take(self, event: evt.Event) -> int:
        self.got.append(event.dataset)
        time.sleep(self.hold)
        return 0

    def associate(self, contexts: tuple = ((CTImageStorage, JPEG2000Lossless),), patience: float = 60):
        """An association with the node, established or not."""
        ae = AE("SCANNER")
        ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = patience
        for kind, syntax in contexts:
            ae.add_requested_context(kind, syntax)
        return ae.associate("127.0.0.1", self.port, ae_title="OARSEG")

    def store(self, assoc, one: Dataset) -> int | None:
        """The status of a C-STORE, noted where it was acknowledged."""
        try:
            status = assoc.send_c_store(one).get("Status")
        except (RuntimeError, ValueError, OSError):
            return None
        if status == 0:
            self.acked.setdefault(one.SeriesInstanceUID, set()).add(one.SOPInstanceUID)
        return status

    def send(self, slices: list[Dataset], patience: float = 60) -> list[int | None]:
        """Over one association. ``patience``: seconds until a node that was killed is no longer waited for."""
        assoc = self.associate(patience=patience)
        statuses = [self.store(assoc, one) for one in slices] if assoc.is_established else []
        if assoc.is_established:
            assoc.release()
        return statuses

    def send_all(self, slices: list[Dataset], seconds: float = 120) -> None:
        """What is missing, over one association after another, as a sender does that tries again."""
        until = time.monotonic() + seconds
        while self.missing(slices) and time.monotonic() < until:
            self.send(self.missing(slices))
        assert not self.missing(slices), f"{len(self.missing(slices))} slices were not taken"

    def missing(self, slices: list[Dataset]) -> list[Dataset]:
        """Slices that were not acknowledged."""
        return [s for s in slices if s.SOPInstanceUID not in self.acked.get(s.SeriesInstanceUID, set())]

    def states(self) -> list[str]:
        """States of all jobs, as they are on the disk."""
        place = self.folder / self.spool / "node.db"
        with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(place, timeout=5)) as db:
            receiving = db.execute("select 'receiving' from series where pending").fetchall()
            return [row[0] for row in [*db.execute("select state from job order by id").fetchall(), *receiving]]
        return []

    def settle(self, jobs: int, seconds: float = 300) -> None:
        """Wait until so many jobs, and all of them, are delivered."""
        wait_for(lambda: self.states() == ["delivered"] * jobs, seconds)

    def lost(self) -> int:
        """Acknowledged slices that no RTSTRUCT refers to."""
        delivered = set().union(*(references(one) for one in self.got)) if self.got else set()
        return len(set().union(*self.acked.values()) - delivered) if self.acked else 0

    def repeated(self) -> int:
        """RTSTRUCTs beyond the first of the same slices."""
        kinds = {(frozenset(references(one)), one.SOPInstanceUID) for one in self.got}
        return len(kinds) - len({slices for slices, _ in kinds})

    def close(self) -> None:
        """End everything that was started."""
        if self.process and self.process.poll() is None:
            self.kill()
        self.close_archive()


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def wait_for(condition: Callable[[], object], seconds: float) -> None:
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            raise AssertionError("it did not come to pass")
        time.sleep(0.03)


def references(result: Dataset) -> set[str]:
    """SOP instances of the series that an RTSTRUCT is of."""
    series = result.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0].RTReferencedSeriesSequence[0]
    return {str(row.ReferencedSOPInstanceUID) for row in series.ContourImageSequence}


def new_ct() -> list[Dataset]:
    """The embedded CT with new UIDs."""
    fresh: dict[str, str] = {}
    slices = []
    for path in sorted((Path(oarseg.demo.__file__).parent / "ct").glob("*.dcm")):
        one = pydicom.dcmread(path)
        for key in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "SOPInstanceUID"):
            setattr(one, key, fresh.setdefault(one[key].value, generate_uid()))
        one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID
        slices.append(one)
    return slices


@contextlib.contextmanager
def running(hour: float = 3600) -> Iterator[Bench]:
    """A node that runs in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="oarseg-faults-") as folder:
        made = Bench(Path(folder), hour=hour)
        try:
            made.start()
            yield made
        finally:
            made.close()
