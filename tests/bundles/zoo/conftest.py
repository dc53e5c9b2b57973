"""Servers on the loopback interface in place of those that bundles are downloaded from, and processes without a net."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

# Put in the way of every process that must need no network: whatever asks for a host or connects to one fails.
NO_NETWORK = """
import sys

def refuse(event, args):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"):
        raise ConnectionError(f"this process must need no network, but used {event}{args[1:]}")

sys.addaudithook(refuse)
"""
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


class Quiet(SimpleHTTPRequestHandler):
    """Serves a folder without a line a request."""

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def start() -> Iterator[Callable[..., str]]:
    """``start(handler_class)``: serve on a free port of this machine until the test ends; returns the address."""
    running = []

    def begin(handler: Callable[..., BaseHTTPRequestHandler]) -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        running.append((server, thread))
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield begin
    for server, thread in running:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def serve(start: Callable[..., str]) -> Callable[[Path], str]:
    """``serve(folder)``: a plain web server of a folder; returns its address."""
    return lambda folder: start(functools.partial(Quiet, directory=str(folder)))


@pytest.fixture
def shell(tmp_path: Path) -> Callable[..., str]:
    """``shell(*args)``: output of ``python -m ...``, in a folder of its own, which must succeed.

    ``offline``: with every use of the network an error; ``env``: more of the environment.
    """
    hook = tmp_path / "hook"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(NO_NETWORK, encoding="utf-8")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    def run(*args: str | Path, offline: bool = False, env: dict[str, str] | None = None) -> str:
        known = {key: value for key, value in os.environ.items() if key.upper() not in PROXIES}
        known |= {"OMP_NUM_THREADS": "2", "CUDA_VISIBLE_DEVICES": "", "PYTHONDONTWRITEBYTECODE": "1", **(env or {})}
        if offline:
            known["PYTHONPATH"] = str(hook)
        command = [sys.executable, "-m", *(str(arg) for arg in args)]
        done = subprocess.run(command, cwd=elsewhere, env=known, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout + done.stderr

    return run


@pytest.fixture
def infer(shell: Callable[..., str]) -> Callable[..., str]:
    """``infer(bundle_folder, images, out)``: MONAI's own inference with a downloaded bundle, offline."""

    def run(bundle: Path, images: Path, out: Path) -> str:
        return shell(
            "monai.bundle", "run", "--config_file", bundle / "configs/inference.json",
            "--dataset_dir", images, "--output_dir", out, "--device", "$torch.device('cpu')", offline=True,
        )  # fmt: skip

    return run


@pytest.fixture
def images(dataset_dir: Path, tmp_path: Path) -> Path:
    """A folder with one synthetic CT, ``d.nii.gz``."""
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "d.nii.gz").write_bytes((dataset_dir / "images/d.nii.gz").read_bytes())
    return folder


def tree(folder: Path) -> dict[str, bytes]:
    """All files below ``folder`` by path."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(name="tree")
def _tree() -> Callable[[Path], dict[str, bytes]]:
    return tree
