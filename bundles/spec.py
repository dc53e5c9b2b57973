"""The bundles of a site, and what their templates say of each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template

from oarseg.errors import ConfigError
from oarseg.sites import Organ, Site

TEMPLATES = Path(__file__).resolve().parent / "templates"


@dataclass(frozen=True)
class BundleSpec:
    """One bundle of a site: ``kind`` is "localizer", "organ" or "two_stage"; ``organ`` is None but for the second."""

    name: str
    kind: str
    site: Site
    organ: Organ | None = None

    @property
    def organs(self) -> list[Organ]:
        """The organs that the bundle finds."""
        return [self.organ] if self.organ else list(self.site.organs)

    def text(self, key: str, **values: str) -> str:
        """Return a text of ``templates/common/texts.json`` for this kind of bundle, filled from the table."""
        site, row, organ = self.site, self.site.localizer, self.organ
        values |= {
            "prefix": site.prefix,
            "site": site.title,
            "organs": str(len(site.organs)),
            "classes": str(len(site.organs) + 1),
            "localizer_width": str(row.base_width),
            "spacing": " x ".join(f"{n:g}" for n in row.spacing_mm),
            "widths": ", ".join(f"{o.key} {o.base_width}" for o in site.organs),
        }
        if organ:
            grid, field = (" x ".join(f"{n:g}" for n in numbers) for numbers in (organ.grid, organ.field_mm))
            values |= {"organ": organ.title, "width": str(organ.base_width), "grid": grid, "field": field}
        return Template(json.loads(common("texts.json"))[self.kind][key]).substitute(values)


def common(name: str) -> str:
    """Return a template that all kinds of bundles share."""
    return (TEMPLATES / "common" / name).read_text(encoding="utf-8")


def bundle_specs(site: Site) -> list[BundleSpec]:
    """Return all bundles of a site: the localizer, one an organ, and both stages chained."""
    return [
        BundleSpec(f"{site.prefix}_localizer", "localizer", site),
        *(BundleSpec(site.organ_bundles.format(key=o.key), "organ", site, o) for o in site.organs),
        BundleSpec(f"{site.prefix}_two_stage", "two_stage", site),
    ]


def chosen_specs(site: Site, names: Sequence[str]) -> list[BundleSpec]:
    """Return the bundles of a site with these ``names``, or all. Raises ConfigError for a name that it lacks."""
    specs = {spec.name: spec for spec in bundle_specs(site)}
    if unknown := [name for name in names if name not in specs]:
        raise ConfigError(f"no bundle {unknown[0]!r} in site {site.site}; it has: {', '.join(specs)}")
    return [spec for name, spec in specs.items() if not names or name in names]
