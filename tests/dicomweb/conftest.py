"""A DICOMweb server of our own, which can be told to misbehave, and small CTs."""

from __future__ import annotations

import fnmatch
import io
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

import pydicom
import pytest
from pydicom.dataset import Dataset

import oarseg.demo

PATIENT = "Secret^Name"
ROOT = "/dicom-web"
BOUNDARY = "a-boundary-of-the-server"
DEMO = Path(oarseg.demo.__file__).parent / "ct"


def encoded(dataset: Dataset) -> bytes:
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


class Handler(BaseHTTPRequestHandler):
    """Answers as PS3.18 says, unless the test has something else in mind (``DicomwebServer.instead``)."""

    server: DicomwebServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        parts = path.removeprefix(f"{ROOT}/").split("/")
        kind = "find" if parts[-1] == "series" else "fetch"
        if self._instead(kind):
            return
        if kind == "find":
            self.reply_json(self.server.found(parts[1] if len(parts) > 1 else None, urlsplit(self.path).query))
        else:
            held = self.server.of_series(parts[3])
            self.reply_parts([encoded(one) for one in held]) if held else self.reply(404)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        boundary = self.headers["Content-Type"].split('boundary="')[1].split('"')[0]
        parts = [
            part.split(b"\r\n\r\n", 1)[1].removesuffix(b"\r\n") for part in body.split(f"--{boundary}".encode())[1:-1]
        ]
        self.sent = [pydicom.dcmread(io.BytesIO(part)) for part in parts]
        if self._instead("store"):
            return
        for one in self.sent:
            self.server.held[str(one.SOPInstanceUID)] = one
        taken = [self.reference(one) for one in self.sent]
        self.reply_json({"00081199": {"vr": "SQ", "Value": taken}})

    @staticmethod
    def reference(one: Dataset, reason: int | None = None) -> dict:
        row = {"00081155": {"vr": "UI", "Value": [str(one.SOPInstanceUID)]}}
        return row | ({"00081197": {"vr": "US", "Value": [reason]}} if reason is not None else {})

    def _instead(self, kind: str) -> bool:
        self.server.asked.append((kind, self.path, dict(self.headers)))
        others = self.server.instead.get(kind)
        if not others:
            return False
        other = others[0] if len(others) == 1 and self.server.for_ever else others.pop(0)
        return other(self) is not False

    def reply(self, status: int, body: bytes = b"", kind: str = "", length: int | None = None, **headers: str) -> None:
        self.send_response(status)
        if kind:
            self.send_header("Content-Type", kind)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)
        if length is not None:
            self.close_connection = True

    def reply_json(
        self, content: object, status: int = 200, kind: str = "application/dicom+json; charset=utf-8"
    ) -> None:
        self.reply(status, json.dumps(content).encode(), kind)

    def reply_parts(self, parts: list[bytes], end: bytes = b"--\r\n", length: bool = True) -> None:
        head = f"\r\n--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        body = b"".join(head + part for part in parts).lstrip() + f"\r\n--{BOUNDARY}".encode() + end
        kind = f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'
        if length:
            self.reply(200, body, kind)
            return
        # The end of the answer is the end of the connection.
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True


class DicomwebServer(ThreadingHTTPServer):
    """``held``: instances by UID. ``instead``: by find, fetch and store, what is done in place of the usual, one after
    the other; the last one ``for_ever``. A function that returns False lets the usual follow. ``asked``: kind, path,
    headers.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.scheme = "http"
        self.held: dict[str, Dataset] = {}
        self.instead: dict[str, list[Callable[[Handler], object]]] = {}
        self.for_ever = True
        self.asked: list[tuple[str, str, dict]] = []
        self.knows_pages = True

    @property
    def root(self) -> str:
        return f"{self.scheme}://localhost:{self.server_port}{ROOT}"

    def handle_error(self, *_: object) -> None:
        """A client that goes away is no matter here."""

    def encrypt(self, certificate: Path, key: Path) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self.scheme = "https"

    def hold(self, *instances: Dataset) -> str:
        """Keep instances; the UID of the first one's series."""
        self.held.update({str(one.SOPInstanceUID): one for one in instances})
        return str(instances[0].SeriesInstanceUID)

    def of_series(self, uid: str) -> list[Dataset]:
        return [one for one in self.held.values() if one.SeriesInstanceUID == uid]

    def of_class(self, modality: str) -> list[Dataset]:
        return [one for one in self.held.values() if one.Modality == modality]

    def found(self, study: str | None, query: str) -> list[dict]:
        wanted = dict(parse_qsl(query))
        limit, offset = int(wanted.pop("limit", 1000)), int(wanted.pop("offset", 0))
        wanted.pop("includefield", None)
        rows = {}
        for one in self.held.values():
            if study not in (None, one.StudyInstanceUID):
                continue
            if all(fnmatch.fnmatch(str(one.get(key, "")), value) for key, value in wanted.items()):
                rows.setdefault((one.StudyInstanceUID, one.SeriesInstanceUID), []).append(one)
        listed = [
            {
                "00080060": {"vr": "CS", "Value": [members[0].Modality]},
                "0020000D": {"vr": "UI", "Value": [str(study)]},
                "0020000E": {"vr": "UI", "Value": [str(series)]},
                "00100010": {"vr": "PN", "Value": [{"Alphabetic": PATIENT}]},
                "00201209": {"vr": "IS", "Value": [len(members)]},
            }
            for (study, series), members in rows.items()
        ]
        return listed[offset : offset + limit] if self.knows_pages else listed


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests need not wait before a further try; and nobody's credentials or proxies are in their way."""
    monkeypatch.setattr("oarseg.dicomweb.ask.PAUSES", (0.01, 0.01, 0.01, 0.01))
    for name in ("TOKEN", "USER", "PASSWORD"):
        monkeypatch.delenv(f"OARSEG_DICOMWEB_{name}", raising=False)
    monkeypatch.setenv("NETRC", "/nowhere")


@pytest.fixture
def web() -> Iterator[DicomwebServer]:
    """The server, without instances."""
    server = DicomwebServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="session")
def demo_slices() -> list[Dataset]:
    """The embedded CT."""
    return [pydicom.dcmread(path) for path in sorted(DEMO.glob("*.dcm"))]


@pytest.fixture(scope="session")
def tools(ct_slices):
    """Functions that tests call."""

    class Tools:
        pass

    for function in (encoded,):
        setattr(Tools, function.__name__, staticmethod(function))
    Tools.ct_slices = staticmethod(ct_slices)
    Tools.patient, Tools.boundary, Tools.demo = PATIENT, BOUNDARY, DEMO
    return Tools
