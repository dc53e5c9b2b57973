"""The bundles of a site."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from oarseg.sites import Organ, Site

TEMPLATES = Path(__file__).resolve().parent / "templates"


@dataclass(frozen=True)
class BundleSpec:
    """One bundle of a site: ``kind`` is "localizer", "organ" or "two_stage"; ``organ`` is None but for the second."""

    name: str
    kind: str
    site: Site
    organ: Organ | None = None


def bundle_specs(site: Site) -> list[BundleSpec]:
    """Return all bundles of a site: the localizer, one an organ, and both stages chained."""
    return [
        BundleSpec(f"{site.prefix}_localizer", "localizer", site),
        *(BundleSpec(site.organ_bundles.format(key=o.key), "organ", site, o) for o in site.organs),
        BundleSpec(f"{site.prefix}_two_stage", "two_stage", site),
    ]
