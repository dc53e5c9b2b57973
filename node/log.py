"""Logs as lines of JSON on stderr, without a name, UID or description from a patient's data.

A series is named by the first 16 hex digits of the SHA-256 of its UID, as in report.json.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

from oarseg.node.spool import SHORT
from oarseg.text import printable

LOGGER = logging.getLogger("oarseg.node")


def say(event: str, level: int = logging.INFO, **values: Any) -> None:
    """One line: what happened, and values that are the node's own."""
    LOGGER.log(level, event, extra={"values": values})


def short(series: str) -> str:
    """The name of a series in logs."""
    return series[:SHORT]


def start_logging() -> None:
    """Lines of JSON from now on; the libraries are silent, as what they say may come from a patient's data."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json())
    LOGGER.handlers, LOGGER.propagate = [handler], False
    LOGGER.setLevel(logging.INFO)
    for name in ("pynetdicom", "pydicom"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [logging.NullHandler()], False


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        row = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
        }
        given = getattr(record, "values", {})
        return json.dumps(row | {k: printable(v) if isinstance(v, str) else v for k, v in given.items()})
