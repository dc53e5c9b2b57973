"""Health and metrics over HTTP, for this machine alone: ``/health`` (JSON), ``/metrics`` (Prometheus' text format)."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

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
Gauges = Callable[[], list[tuple[str, str, dict[str, str], float]]]


class Counters:
    """Counts since the start. From any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.values: dict[str, float] = dict.fromkeys(COUNTED, 0)

    def add(self, name: str, amount: float = 1) -> None:
        """Count."""
        with self._lock:
            self.values[name] += amount


def metrics_text(counters: Counters, gauges: list[tuple[str, str, dict[str, str], float]]) -> str:
    """Prometheus' text format. ``gauges``: name, help, labels, value; those of one name in a row."""
    lines: list[str] = []
    for name, value in counters.values.items():
        lines += [f"# HELP oarseg_{name}_total {COUNTED[name]}", f"# TYPE oarseg_{name}_total counter"]
        lines.append(f"oarseg_{name}_total {value:.15g}")
    told = ""
    for name, text, labels, value in gauges:
        if name != told:
            lines += [f"# HELP oarseg_{name} {text}", f"# TYPE oarseg_{name} gauge"]
            told = name
        inside = ",".join(f'{key}="{label}"' for key, label in labels.items())
        lines.append(f"oarseg_{name}{{{inside}}} {value:.15g}" if inside else f"oarseg_{name} {value:.15g}")
    return "\n".join(lines) + "\n"


def _health(wrong: list[str]) -> tuple[int, str, str]:
    text = json.dumps({"status": "failing" if wrong else "ok", "wrong": wrong})
    return 503 if wrong else 200, "application/json", text + "\n"


def start_http(
    address: str, port: int, counters: Counters, gauges: Gauges, health: Callable[[], list[str]]
) -> ThreadingHTTPServer:
    """Serve, in a thread of its own. ``health``: what is wrong, nothing where all is well (then 200, else 503).

    Raises OSError where the port cannot be had.
    """

    class Handler(BaseHTTPRequestHandler):
        timeout = 10

        def do_GET(self) -> None:  # noqa: N802 - the library's name
            try:
                answer = self._page()
            except Exception as error:  # noqa: BLE001 - a spool that cannot be asked is an answer too
                answer = _health([f"the spool cannot be asked ({type(error).__name__})"])
            self._answer(*answer)

        def _page(self) -> tuple[int, str, str]:
            if self.path == "/metrics":
                return 200, "text/plain; version=0.0.4; charset=utf-8", metrics_text(counters, gauges())
            if self.path == "/health":
                return _health(health())
            return 404, "text/plain", "there are /health and /metrics\n"

        def _answer(self, status: int, kind: str, text: str) -> None:
            body = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Said nothing: it is asked every few seconds."""

    class Http(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            """Said nothing: who asked went away."""

        if ":" in address:
            import socket

            address_family = socket.AF_INET6

    server = Http((address, port), Handler)
    threading.Thread(target=server.serve_forever, name="http", daemon=True).start()
    return server
