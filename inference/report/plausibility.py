"""What a careful reader would notice at once: volumes that no organ has, and left and right exchanged."""

from __future__ import annotations

from collections.abc import Mapping

from oarseg.inference.report.measure import Measure
from oarseg.sites import Site


def implausibilities(measures: Mapping[str, Measure], site: Site) -> list[str]:
    """Warnings about what :func:`oarseg.inference.report.measure.measure` found; none where everything is plausible."""
    warnings = []
    for key, found in measures.items():
        organ = site.organ(key)
        low, high = organ.volume_cm3
        if not low <= found.volume_cm3 <= high:
            warnings.append(
                f"{organ.title}: {found.volume_cm3:.1f} cm3, outside the usual {low:g} to {high:g} cm3; "
                "it may be cut off by the scan, diseased, or wrong"
            )
        twin = measures.get(organ.mirror or "")
        # LPS: x grows towards the patient's left.
        if key.endswith("_left") and twin and found.centroid_lps_mm[0] <= twin.centroid_lps_mm[0]:
            warnings.append(f"{organ.title} lies to the right of {site.organ(organ.mirror).title}: check both")
    return warnings
