"""What a run found, in numbers: ``report.json``. Positions are patient millimetres, LPS as DICOM has them."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from oarseg import __version__
from oarseg.inference.report.measure import Measure
from oarseg.sites import Site

DISCLAIMER = (
    "For research use only; not a medical device. Contours were made automatically and must be reviewed by a qualified "
    "person before any use."
)
# Raised when a field of report.json changes its meaning.
SCHEMA = 1
PACKAGES = ("torch", "monai", "numpy", "nibabel", "pydicom", "openvino", "highdicom")


def make_report(
    pipeline: Any,
    image: Any,
    found: Any,
    asked: Sequence[str],
    seconds: Mapping[str, float],
    notes: Sequence[str] = (),
) -> dict:
    """The content of ``report.json``.

    Args: ``pipeline`` (site, device, weights), ``image`` (a ``CtImage``), ``found`` (a ``Segmentation``),
    ``asked``: organ keys that were to be found, ``seconds`` by step, ``notes``: further warnings.
    It names no patient: of the input it has the size, the spacing and a hash of the series UID.
    """
    site: Site = pipeline.site
    border = [f"{site.organ(k).title}: reaches the edge of the image and may be cut off"
              for k, m in found.measures.items() if m.at_border]  # fmt: skip
    return {
        "schema": SCHEMA,
        "disclaimer": DISCLAIMER,
        "site": site.site,
        "organs": {o.key: _organ_row(o, found.measures, found.missing) for o in site.organs if o.key in asked},
        "warnings": [*image.warnings, *found.warnings, *border, *notes],
        "input": describe_input(image),
        "seconds": {key: round(float(value), 3) for key, value in seconds.items()},
        "device": str(pipeline.device),
        "engine": dict(pipeline.computed),
        "weights": dict(pipeline.weights),
        "versions": versions(),
    }


def _organ_row(organ: Any, measures: Mapping[str, Measure], missing: Mapping[str, str]) -> dict:
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


def describe_input(image: Any) -> dict:
    """Size, spacing and kind of a ``CtImage``; the series only as a hash."""
    spacing = np.linalg.norm(np.asarray(image.affine)[:3, :3], axis=0)
    row = {
        "modality": "CT",
        "kind": image.kind,
        "axes": "slices, rows, columns" if image.kind == "DICOM" else "as in the file",
        "size_voxels": [int(n) for n in image.hu.shape],
        "spacing_mm": [round(float(s), 4) for s in spacing],
        "affine_ras_mm": [[round(float(v), 6) for v in line] for line in np.asarray(image.affine)],
    }
    return row | ({"series_sha256_16": image.series} if image.series else {})


def versions() -> dict[str, str]:
    """Versions of oarseg, Python and what the numbers depend on."""
    found = {"oarseg": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def summary_lines(report: Mapping[str, Any]) -> list[str]:
    """The organs of a report as a table for people, one line each."""
    lines = []
    for row in report["organs"].values():
        text = f"{row['volume_cm3']:8.1f} cm3" if row["found"] else f"not found: {row['reason']}"
        lines.append(f"  {row['name']:<18}{text}")
    return lines


def _rounded(values: Sequence[float]) -> list[float]:
    return [round(v, 2) for v in values]
