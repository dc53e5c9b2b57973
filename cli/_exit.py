"""Exit codes of ``oarseg``."""

from __future__ import annotations

DONE, UNEXPECTED, REFUSED, NOTHING_FOUND, INTERRUPTED = 0, 1, 2, 3, 130
