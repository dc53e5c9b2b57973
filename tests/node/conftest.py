"""What the node's tests share: small CTs, a node with a quick stand-in for the networks, and an archive to send to."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydicom
import pytest
from ports import free_port
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RTStructureSetStorage,
    generate_uid,
)

from oarseg.errors import InputError
from oarseg.node.config import Config, parse_config

try:
    from pynetdicom import AE, evt
    from pynetdicom.transport import ThreadedAssociationServer

    from oarseg.node import Node, service
except ImportError:
    # Each test module skips itself then.
    AE = evt = Node = service = None

PATIENT = "Secret^Name"


def wait_for(condition: Callable[[], Any], seconds: float = 60.0) -> Any:
    """The condition's value once it is true. Fails after ``seconds``."""
    until = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < until, "it did not come to pass"
        time.sleep(0.02)
    return value


@dataclass
class Archive:
    """A C-STORE SCP that keeps what it gets. ``status``: what it answers. ``hold``: seconds before it answers."""

    port: int
    status: int = 0x0000
    hold: float = 0.0
    syntaxes: tuple = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
    got: list[Dataset] = field(default_factory=list)
    tls: Any = None
    _ae: AE | None = None

    def start(self) -> Archive:
        self._ae = AE("PLANNING")
        self._ae.require_called_aet = True
        self._ae.add_supported_context(RTStructureSetStorage, list(self.syntaxes))
        server = self._ae.make_server(
            ("127.0.0.1", self.port), evt_handlers=[(evt.EVT_C_STORE, self._store)], ssl_context=self.tls,
            server_class=ThreadedAssociationServer,
        )  # fmt: skip
        self._ae._servers.append(server)
        # As ``start_server``, which looks every half second whether it is to end.
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def _store(self, event: evt.Event) -> int:
        if self.status == 0:
            dataset = event.dataset
            dataset.file_meta = event.file_meta
            self.got.append(dataset)
        time.sleep(self.hold)
        return self.status

    def stop(self) -> None:
        if self._ae:
            self._ae.shutdown()
            self._ae = None

    @property
    def uids(self) -> list[str]:
        return [str(one.SOPInstanceUID) for one in self.got]


class Segmenter:
    """A stand-in for the networks: an RTSTRUCT that names the slices it was made of. Refuses fewer than three."""

    def __init__(self) -> None:
        self.calls: list[int] = []
        self.hold = 0.0

    def __call__(self, ct: Path, out: Path) -> None:
        slices = [pydicom.dcmread(path) for path in sorted(ct.iterdir())]
        self.calls.append(len(slices))
        time.sleep(self.hold)
        if len(slices) < 3:
            raise InputError("too few slices")
        result = Dataset()
        result.file_meta = FileMetaDataset()
        result.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        result.SOPClassUID, result.SOPInstanceUID = RTStructureSetStorage, generate_uid()
        result.SeriesInstanceUID, result.StudyInstanceUID = generate_uid(), slices[0].StudyInstanceUID
        result.Modality, result.PatientID, result.StructureSetLabel = "RTSTRUCT", slices[0].PatientID, str(len(slices))
        out.mkdir()
        result.save_as(out / "rtstruct.dcm", enforce_file_format=True)


@dataclass
class Site:
    """A node's surroundings: settings, an archive, and how to send to it."""

    folder: Path
    port: int
    archive: Archive
    segmenter: Segmenter
    over: dict[str, dict] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)

    def settings(self) -> dict[str, Any]:
        rows: dict[str, Any] = {
            "node": {"ae_title": "OARSEG", "spool": "spool", "address": "127.0.0.1", "port": self.port,
                     "quiet_seconds": 0.2, "stop_seconds": 10},
            "allow": {"ae_titles": ["SCANNER", "OTHER"]},
            "limits": {"free_gib": 0},
            "delivery": {"first_retry_seconds": 0.2, "longest_retry_seconds": 0.4},
            "http": {"port": 0},
            "destination": [
                {"name": "planning", "ae_title": "PLANNING", "host": "127.0.0.1", "port": self.archive.port}
            ],
        }  # fmt: skip
        for section, values in self.over.items():
            rows[section] = {**rows.get(section, {}), **values} if isinstance(values, dict) else values
        return rows

    def config(self) -> Config:
        return parse_config(self.settings(), self.folder)

    def start(self) -> Node:
        node = Node(self.config(), self.segmenter)
        self.nodes.append(node)
        node.start()
        return node

    def stop(self, node: Node) -> None:
        self.nodes.remove(node)
        node.stop()

    def associate(self, title: str = "SCANNER", called: str = "OARSEG", contexts: list | None = None, tls: Any = None):
        ae = AE(title)
        for kind, syntaxes in contexts or [(CTImageStorage, [ExplicitVRLittleEndian])]:
            ae.add_requested_context(kind, syntaxes)
        ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 20
        return ae.associate("127.0.0.1", self.port, ae_title=called, tls_args=tls)

    def send(self, slices: list[Dataset], title: str = "SCANNER") -> list[int]:
        """The statuses of C-STORE over one association."""
        assoc = self.associate(title)
        assert assoc.is_established
        statuses = [assoc.send_c_store(one).get("Status") for one in slices]
        assoc.release()
        return statuses

    def totals(self, node: Node) -> dict[str, int]:
        return {state: n for state, n in node.spool.state.totals().items() if n}


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests need not wait for what is looked at every few seconds."""
    monkeypatch.setattr(service, "RETENTION_SECONDS", 0.2)
    monkeypatch.setattr(service, "TICK_SECONDS", 0.05)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Settings, an archive that listens, and no node yet."""
    made = Site(tmp_path, free_port(), Archive(free_port()).start(), Segmenter())
    yield made
    for node in made.nodes:
        node.stop()
    made.archive.stop()


@pytest.fixture(scope="session")
def tools(ct_slices):
    """Functions that tests call."""

    class Tools:
        pass

    for function in (free_port, wait_for):
        setattr(Tools, function.__name__, staticmethod(function))
    Tools.ct_slices = staticmethod(ct_slices)
    Tools.patient = PATIENT
    Tools.Archive = Archive
    return Tools
