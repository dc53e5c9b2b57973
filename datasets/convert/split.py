"""Which patients validate."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable

from oarseg.errors import ConfigError

TRAINING, VALIDATION = "training", "validation"


def section(patient: str, seed: int, share: float) -> str:
    """Return "training" or "validation", by a hash of ``seed`` and ``patient``; ``share`` of all patients validate.

    Decided patient by patient: so nobody moves when patients are added, all cases of a patient stay together, and a
    patient of two sets that name them alike (PDDCA and DeepMind's) is in the same section of both. The price is that
    the share is met on average only.

    >>> {section("0522c0727", 1, 0.2) for _ in range(9)} == {section("0522c0727", 1, 0.2)}
    True
    """
    digest = hashlib.sha256(f"{seed}\0{patient}".encode(errors="replace")).digest()
    return VALIDATION if int.from_bytes(digest[:8], "big") < share * 2**64 else TRAINING


def check_share(share: float) -> None:
    """Raise ConfigError for what is no share of patients."""
    if not (math.isfinite(share) and 0 <= share < 1):
        raise ConfigError(f"--validation is {share:g}, expected a share from 0 to below 1, such as 0.15")


def missing(sections: Iterable[str], share: float) -> str | None:
    """Return a note where a section that should have patients is empty."""
    there = set(sections)
    for name, expected in ((TRAINING, True), (VALIDATION, share > 0)):
        if there and expected and name not in there:
            return f"no patient is in {name!r}: there are few patients; another --seed or --validation changes that"
    return None
