"""Logs as lines of JSON on stderr, without a name, UID or description from a patient's data.

A series is named by the first 16 hex digits of the SHA-256 of its UID, as in report.json. AE titles and addresses of
peers are logged as they are: they name machines.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
from datetime import UTC, datetime
from typing import Any

from oarseg.identity import DIGITS
from oarseg.text import printable

LOGGER = logging.getLogger("oarseg.node")


def say(event: str, level: int = logging.INFO, **values: Any) -> None:
    """Write one line: what happened, and values that are the node's own."""
    LOGGER.log(level, event, extra={"values": values})


def short(series: str) -> str:
    """Return the name of a series in logs."""
    return series[:DIGITS]


def start_logging() -> None:
    """Write lines of JSON from now on, and silence the libraries: their messages may quote a patient's data."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json())
    LOGGER.handlers, LOGGER.propagate = [handler], False
    LOGGER.setLevel(logging.INFO)
    # Warnings quote values, and a thread that breaks would print what broke it.
    logging.captureWarnings(True)
    threading.excepthook = _thread_broke
    # The root's too, or Python prints the warnings of every library that has no handler.
    for name in ("pynetdicom", "pydicom", "py.warnings", None):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [logging.NullHandler()], False


def _thread_broke(raised: threading.ExceptHookArgs) -> None:
    say("a thread broke", logging.ERROR, reason=raised.exc_type.__name__)


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        row = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
        }
        given = getattr(record, "values", {})
        return json.dumps(row | {k: printable(v) if isinstance(v, str) else v for k, v in given.items()})
