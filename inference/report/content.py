"""What a run found, in numbers: ``report.json``. Positions are patient millimetres, LPS as DICOM has them."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from oarseg import __version__
from oarseg.geometry.affine import voxel_spacing
from oarseg.images.read import CtImage
from oarseg.inference.report.measure import Measure
from oarseg.sites import Organ, Site

DISCLAIMER = (
    "For research use only; not a medical device. Contours were made automatically and must be reviewed by a qualified "
    "person before any use."
)
# Raised when a field of report.json changes its meaning.
SCHEMA = 1
PACKAGES = ("torch", "monai", "numpy", "nibabel", "pydicom", "openvino", "highdicom")


def make_report(
    site: Site, image: CtImage, measures: Mapping[str, Measure], missing: Mapping[str, str], *, organs: Sequence[str],
    warnings: Sequence[str], seconds: Mapping[str, float], device: str, engine: Mapping[str, str],
    weights: Mapping[str, str],
) -> dict[str, Any]:  # fmt: skip
    """Return the content of ``report.json``. It names no patient: see :func:`describe_input`.

    Args:
        measures, missing: the organs that were found, and why others were not, by key.
        organs: keys of the organs to be found.
        warnings: about the contours; those of ``image`` come before them.
        seconds: by step.
        device, engine, weights: what computed (see ``Pipeline``).
    """
    border = [f"{site.organ(key).title}: reaches the edge of the image and may be cut off"
              for key, found in measures.items() if found.at_border]  # fmt: skip
    return {
        "schema": SCHEMA,
        "disclaimer": DISCLAIMER,
        "site": site.site,
        "organs": {o.key: _organ_row(o, measures, missing) for o in site.organs if o.key in organs},
        "warnings": [*image.warnings, *warnings, *border],
        "input": describe_input(image),
        "seconds": {key: round(float(value), 3) for key, value in seconds.items()},
        "device": device,
        "engine": dict(engine),
        "weights": dict(weights),
        "versions": versions(),
    }


def computed_by(report: Mapping[str, Any]) -> str:
    """Return what computed the contours, in a few words: "openvino int8 on cpu"."""
    return f"{report['engine']['name']} {report['engine']['precision']} on {report['device']}"


def _organ_row(organ: Organ, measures: Mapping[str, Measure], missing: Mapping[str, str]) -> dict[str, Any]:
    row: dict[str, Any] = {"name": organ.name, "label": organ.value, "found": organ.key in measures}
    if organ.key not in measures:
        return row | {"reason": missing.get(organ.key, "no voxel was given to it")}
    found = measures[organ.key]
    low, high = found.box_lps_mm
    return row | {
        "volume_cm3": round(found.volume_cm3, 3),
        "voxels": found.voxels,
        "centroid_lps_mm": _rounded(found.centroid_lps_mm),
        "box_lps_mm": {"min": _rounded(low), "max": _rounded(high)},
    }


def describe_input(image: CtImage) -> dict[str, Any]:
    """Return size, spacing and kind of a CT; its series only as a hash."""
    row = {
        "modality": "CT",
        "kind": image.kind,
        "axes": "slices, rows, columns" if image.kind == "DICOM" else "as in the file",
        "size_voxels": [int(n) for n in image.hu.shape],
        "spacing_mm": [round(float(s), 4) for s in voxel_spacing(image.affine)],
        "affine_ras_mm": [[round(float(v), 6) for v in line] for line in np.asarray(image.affine)],
    }
    return row | ({"series_sha256_16": image.series} if image.series else {})


def versions() -> dict[str, str]:
    """Return the versions of oarseg, Python and what the numbers depend on."""
    found = {"oarseg": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def summary_lines(report: Mapping[str, Any]) -> list[str]:
    """Return the organs of a report as a table for people, one line each."""
    lines = []
    for row in report["organs"].values():
        text = f"{row['volume_cm3']:8.1f} cm3" if row["found"] else f"not found: {row['reason']}"
        lines.append(f"  {row['name']:<18}{text}")
    return lines


def _rounded(values: Sequence[float]) -> list[float]:
    return [round(v, 2) for v in values]
