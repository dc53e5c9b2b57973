"""A real MONAI Label server in its own environment, and the few REST calls that its clients make."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Sequence
from email.message import Message
from email.parser import BytesParser
from pathlib import Path
from types import TracebackType

from ports import free_port

SHIM = Path(__file__).parent / "torchvision_shim"
START_S, INFER_S, TRAIN_S, STOP_S, LOG_S = 120, 300, 600, 15, 10


class Refused(Exception):
    """The server answered with an HTTP error: ``code``."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"HTTP {code}: {text[:300]}")
        self.code = code


class Environment:
    """The environment with MONAI Label and oarseg. ``path``: its folder, as ``python -m venv`` made it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        bin_folder = path / "bin"
        # The launcher starts "python" from PATH.
        self.variables = dict(os.environ, PATH=f"{bin_folder}{os.pathsep}{os.environ['PATH']}")
        self.variables.pop("PYTHONPATH", None)
        if self.run("python", "-c", "import torchvision", check=False).returncode:
            self.variables["PYTHONPATH"] = str(SHIM)

    def run(self, *command: str, cwd: Path | None = None, check: bool = True) -> subprocess.CompletedProcess:
        done = subprocess.run(command, cwd=cwd, env=self.variables, capture_output=True, text=True, timeout=INFER_S)
        assert not check or done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
        return done


class Server:
    """``monailabel start_server`` on a free port of the loopback, from entering to leaving the ``with`` block.

    Args: ``app``: folder of the app, with bundles in ``model``. ``models``: which of them to serve. ``folder``: becomes
    the working directory; the studies lie in it, and the log, ``server.log``.
    """

    def __init__(self, environment: Environment, app: Path, models: Sequence[str], folder: Path) -> None:
        self.environment, self.app, self.models, self.folder = environment, app, list(models), folder
        self.log = folder / "server.log"
        self.process: subprocess.Popen | None = None
        self.port = free_port()

    def __enter__(self) -> Server:
        command = ["monailabel", "start_server", "--app", str(self.app), "--studies", str(self.folder / "studies")]
        command += ["--host", "127.0.0.1", "--port", str(self.port), "--conf", "models", ",".join(self.models)]
        command += ["--conf", "zoo_source", "local", "--conf", "sam2", "false"]
        with self.log.open("wb") as log:
            # A session of its own, so that what the launcher starts can be stopped with it.
            self.process = subprocess.Popen(
                command, cwd=self.folder, env=self.environment.variables, stdout=log, stderr=log, start_new_session=True
            )
        try:
            self._wait()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def _wait(self) -> None:
        end = time.monotonic() + START_S
        while time.monotonic() < end and self.process.poll() is None:
            try:
                self.info()
                return
            except OSError:
                time.sleep(0.5)
        raise AssertionError(f"the server did not start:\n{self.log.read_text(errors='replace')[-3000:]}")

    def stop(self) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self.process.pid, number)
                self.process.wait(STOP_S)
            except ProcessLookupError:
                return
            except subprocess.TimeoutExpired:
                continue

    def told(self, text: str) -> bool:
        """Whether the log holds ``text``, which may be written only after the answer was sent."""
        end = time.monotonic() + LOG_S
        while time.monotonic() < end:
            if text in self.log.read_text(encoding="utf-8", errors="replace"):
                return True
            time.sleep(0.2)
        return False

    def info(self) -> dict:
        return json.loads(self._ask("GET", "/info/", timeout=5)[0])

    def add_image(self, name: str, path: Path) -> None:
        self._ask("PUT", "/datastore/image", {"image": name}, files={"file": path})

    def add_label(self, name: str, path: Path) -> None:
        """As what a person has finished."""
        self._ask("PUT", "/datastore/label", {"image": name, "tag": "final"}, files={"label": path})

    def infer(self, model: str, image: str, **params: object) -> tuple[bytes, dict]:
        """The label map's file and the result's description, as 3D Slicer asks for both."""
        content, headers = self._ask(
            "POST", f"/infer/{model}", {"image": image, "output": "all"}, {"params": json.dumps(params)}
        )
        head = f"content-type: {headers['content-type']}\r\n\r\n".encode()
        parts = {part.get_param("name", header="content-disposition"): part for part in _parts(head + content)}
        return parts["image"].get_payload(decode=True), json.loads(parts["params"].get_payload(decode=True))

    def train(self, model: str, **params: object) -> dict:
        """Waits for the end of the training; its status as the server tells it."""
        self._ask("POST", f"/train/{model}", body=json.dumps(params).encode(), kind="application/json")
        end = time.monotonic() + TRAIN_S
        while time.monotonic() < end:
            status = json.loads(self._ask("GET", "/train/")[0])
            if status["status"] in ("DONE", "ERROR"):
                return status
            time.sleep(1)
        raise AssertionError(f"training took longer than {TRAIN_S} s: {status}")

    def _ask(
        self, method: str, path: str, query: dict | None = None, fields: dict | None = None,
        files: dict[str, Path] | None = None, body: bytes | None = None, kind: str = "", timeout: float = INFER_S,
    ) -> tuple[bytes, Message]:  # fmt: skip
        """Raises Refused for an HTTP error, OSError where nobody listens."""
        if fields or files:
            body, kind = _form(fields or {}, files or {})
        url = f"http://127.0.0.1:{self.port}{path}?{urllib.parse.urlencode(query or {})}"
        request = urllib.request.Request(url, body, {"content-type": kind} if kind else {}, method=method)
        # No proxy that the user may have set: this is the loopback.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=timeout) as answer:
                return answer.read(), answer.headers
        except urllib.error.HTTPError as error:
            raise Refused(error.code, error.read().decode(errors="replace")) from error


def _form(fields: dict[str, str], files: dict[str, Path]) -> tuple[bytes, str]:
    """A body of multipart/form-data, and its content type."""
    mark = uuid.uuid4().hex
    head = '--{}\r\ncontent-disposition: form-data; name="{}"{}\r\n\r\n'
    parts = [head.format(mark, name, "").encode() + text.encode() for name, text in fields.items()]
    parts += [head.format(mark, n, f'; filename="{p.name}"').encode() + p.read_bytes() for n, p in files.items()]
    return b"\r\n".join([*parts, f"--{mark}--\r\n".encode()]), f"multipart/form-data; boundary={mark}"


def _parts(message: bytes) -> list[Message]:
    return [part for part in BytesParser().parsebytes(message).walk() if not part.is_multipart()]
