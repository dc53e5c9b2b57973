"""A thread that repeats one step until it is stopped. No error ends it."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable

from oarseg.node.log import say

AFTER_ERROR_SECONDS = 10.0
# A disk that is full, or a spool that is gone for now.
SPOOL_ERRORS = (OSError, sqlite3.OperationalError)


class Loop(threading.Thread):
    """Repeats ``step``, which returns whether it had work; if it had none, the loop waits ``idle_seconds``.

    ``wake``: set to end that wait. ``wrong``: the problem that /health shows; empty where all is well.
    """

    def __init__(self, name: str, step: Callable[[], bool], idle_seconds: float) -> None:
        super().__init__(name=name, daemon=True)
        self.wake, self.stopping = threading.Event(), threading.Event()
        self.wrong = ""
        self._step, self._idle = step, idle_seconds

    def run(self) -> None:
        """Repeat the step until ``stopping`` is set; the step under way is finished."""
        while not self.stopping.is_set():
            self.wake.clear()
            try:
                busy = self._step()
            except Exception as error:  # noqa: BLE001 - a thread that ended would go unnoticed
                self._failed(error)
                self.stopping.wait(AFTER_ERROR_SECONDS)
            else:
                self.wrong = ""
                if not busy:
                    self.wake.wait(self._idle)

    def stop(self) -> None:
        """Stop after the step under way."""
        self.stopping.set()
        self.wake.set()

    def _failed(self, error: Exception) -> None:
        spool = isinstance(error, SPOOL_ERRORS)
        wrong = "the spool cannot be written" if spool else "an unexpected error; it is tried again"
        if wrong != self.wrong:
            say(wrong, logging.ERROR, thread=self.name, reason=type(error).__name__)
        self.wrong = wrong
