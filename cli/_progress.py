"""Progress on stderr, one line a step: ``[4/6] stage 1: locating organs ... 1.2 s``."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TextIO


class Progress:
    """Called with each step as it begins; a step ends when the next begins or the context is left.

    Steps that share the words before a colon ("stage 2: mandible", "stage 2: left eye") share one number.

    Args: ``total``: how many numbers there will be. ``quiet``: say nothing.
    """

    def __init__(self, total: int, quiet: bool = False, stream: TextIO | None = None) -> None:
        self.total, self.quiet, self.stream = total, quiet, stream or sys.stderr
        self.number, self.group, self.began = 0, "", 0.0
        self.open = False

    def __call__(self, step: str) -> None:
        self._end()
        group = step.split(":", 1)[0]
        self.number += group != self.group
        self.group, self.began, self.open = group, time.perf_counter(), True
        self._write(f"[{self.number}/{max(self.total, self.number)}] {step} ... ")

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        if kind is None:
            self._end()
        elif self.open:
            # The message that follows begins on a line of its own.
            self._write("\n")

    def _end(self) -> None:
        if self.open:
            self._write(f"{time.perf_counter() - self.began:.1f} s\n")
            self.open = False

    def _write(self, text: str) -> None:
        if not self.quiet:
            self.stream.write(text)
            self.stream.flush()


def throttled(progress: Callable[[str], None], every: float = 5.0) -> Callable[[str], None]:
    """Return ``progress`` with counts within a step passed on only every so many seconds.

    A count is what ends with " slices" ("fetching the CT: 12 of 85 slices"); all else is passed on at once.
    """
    group, passed = "", 0.0

    def report(step: str) -> None:
        nonlocal group, passed
        begins, _, detail = step.partition(":")
        if begins != group or not detail.endswith(" slices") or time.monotonic() > passed + every:
            group, passed = begins, time.monotonic()
            progress(step)

    return report
