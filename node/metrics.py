"""Health and metrics over HTTP, for this machine alone: ``/health`` (JSON) and ``/metrics`` (Prometheus)."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

PREFIX = "oarseg_"
# Without the prefix, and without the "_total" that Prometheus has at the end of a counter's name.
COUNTED = {
    "associations_accepted": "Associations accepted.",
    "associations_rejected": "Associations rejected: AE title, or too many.",
    "associations_aborted": "Associations aborted for a message far too large.",
    "connections_closed": "Connections closed before they became associations: address, or too many.",
    "echoes": "C-ECHO requests.",
    "instances_stored": "Instances stored and acknowledged.",
    "instances_known": "Instances acknowledged that were here already.",
    "instances_refused": "Instances refused with a status.",
    "bytes_received": "Bytes of acknowledged instances.",
    "series_contoured": "Series contoured.",
    "series_failed": "Series that could not be contoured (dead letters).",
    "segment_seconds": "Seconds spent on contouring.",
    "objects_sent": "Result objects that a destination took.",
    "send_failures": "Tries to send that failed.",
    "deliveries_given_up": "Deliveries given up (dead letters).",
}


class Counters(Collector):
    """Counts since the start. Methods may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.values: dict[str, float] = dict.fromkeys(COUNTED, 0)

    def add(self, name: str, amount: float = 1) -> None:
        """Add ``amount`` to the counter ``name`` of ``COUNTED``."""
        with self._lock:
            self.values[name] += amount

    def collect(self) -> Iterator[Metric]:
        """Yield every counter as Prometheus reads it."""
        for name, text in COUNTED.items():
            yield CounterMetricFamily(PREFIX + name, text, value=self.values[name])


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """Say nothing: the client went away."""


class _Server6(_Server):
    address_family = socket.AF_INET6


class _Handler(WSGIRequestHandler):
    timeout = 10

    def log_message(self, *_: Any) -> None:
        """Say nothing: requests come every few seconds."""


def start_http(
    address: str, port: int, collectors: Iterable[Collector], problems: Callable[[], list[str]]
) -> WSGIServer:
    """Serve both pages in a thread, and return the server.

    ``problems``: returns what is wrong with the node; none is status 200, any is 503. Raises OSError where the port
    cannot be had.
    """
    registry = CollectorRegistry()
    for one in collectors:
        registry.register(one)
    metrics = make_wsgi_app(registry)

    def page(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        try:
            if environ["PATH_INFO"] == "/metrics":
                return metrics(environ, start)
            found = problems() if environ["PATH_INFO"] == "/health" else None
        except Exception as error:  # noqa: BLE001 - a spool that cannot be read is an answer too
            found = [f"the spool cannot be read ({type(error).__name__})"]
        if found is None:
            return _answer(start, HTTPStatus.NOT_FOUND, "text/plain", "there are /health and /metrics")
        status = HTTPStatus.SERVICE_UNAVAILABLE if found else HTTPStatus.OK
        text = json.dumps({"status": "failing" if found else "ok", "wrong": found})
        return _answer(start, status, "application/json", text)

    server = (_Server6 if ":" in address else _Server)((address, port), _Handler)
    server.set_app(page)
    threading.Thread(target=server.serve_forever, name="http", daemon=True).start()
    return server


def _answer(start: Callable[..., Any], status: HTTPStatus, kind: str, text: str) -> list[bytes]:
    start(f"{status.value} {status.phrase}", [("Content-Type", kind)])
    return [f"{text}\n".encode()]
