"""Volumes of healthy organs as published, by TG-263 name: for people to compare with, not for warnings.

>>> published_volume("Parotid_L").range_cm3
(9.2, 54.1)

The ranges of ``volume_cm3`` in an organ table are wider: outside them a contour is warned about.
"""

from __future__ import annotations

from dataclasses import dataclass

from oarseg.sites.table import VOLUMES, facts


@dataclass(frozen=True)
class PublishedVolume:
    """``range_cm3``: lowest and highest. ``population``: whose, and what the range is. ``source``: the publication."""

    range_cm3: tuple[float, float]
    population: str
    source: str


def published_volume(name: str) -> PublishedVolume | None:
    """Return what is published about the organ with the TG-263 ``name``; None where the table has nothing."""
    row = facts(VOLUMES).get(name)
    return PublishedVolume(tuple(row["range_cm3"]), row["population"], row["source"]) if row else None
