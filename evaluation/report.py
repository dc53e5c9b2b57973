"""What a run found, in numbers: ``report.json``. Positions are patient millimetres, LPS as DICOM has them.

>>> measures = measure(label, affine, load_site("head_neck"))      # doctest: +SKIP
>>> measures["eye_left"].volume_cm3, measures["eye_left"].centroid_lps_mm
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
from scipy import ndimage

from oarseg import __version__
from oarseg.sites import Site

DISCLAIMER = (
    "For research use only; not a medical device. Contours were made automatically and must be reviewed by a qualified "
    "person before any use."
)
# Raised when a field of report.json changes its meaning.
SCHEMA = 1
PACKAGES = ("torch", "monai", "numpy", "nibabel", "pydicom")
RAS_TO_LPS = np.array([-1.0, -1.0, 1.0])


@dataclass(frozen=True)
class Measure:
    """One organ of a label map.

    ``volume_cm3``: voxels times voxel volume. ``centroid_lps_mm``: mean of the voxel centres. ``box_lps_mm``: lowest
    and highest coordinate of the voxels, their full extent included. ``at_border``: touches the edge of the image,
    so that it may be cut off.
    """

    voxels: int
    volume_cm3: float
    centroid_lps_mm: tuple[float, float, float]
    box_lps_mm: tuple[tuple[float, float, float], tuple[float, float, float]]
    at_border: bool


def measure(label: np.ndarray, affine: np.ndarray, site: Site) -> dict[str, Measure]:
    """Measure every organ in ``label`` (i, j, k), label values of ``site``, with ``affine`` (4, 4) to RAS mm.

    Returns by organ key, in order of label value; organs without a voxel are absent.
    """
    boxes = ndimage.find_objects(label, max_label=len(site.organs))
    found = {}
    for organ, box in zip(site.organs, boxes, strict=True):
        if box is not None:
            found[organ.key] = _measure(label[box] == organ.value, box, label.shape, np.asarray(affine, dtype=float))
    return found


def _measure(mask: np.ndarray, box: tuple[slice, ...], shape: tuple[int, ...], affine: np.ndarray) -> Measure:
    index = np.argwhere(mask) + [s.start for s in box]
    turn = RAS_TO_LPS[:, None] * affine[:3, :3]
    points = index @ turn.T + RAS_TO_LPS * affine[:3, 3]
    # A voxel reaches half a step along each of its three axes, whichever way they point.
    reach = np.abs(turn).sum(axis=1) / 2
    return Measure(
        voxels=len(index),
        volume_cm3=len(index) * abs(float(np.linalg.det(turn))) / 1000,
        centroid_lps_mm=_triple(points.mean(axis=0)),
        box_lps_mm=(_triple(points.min(axis=0) - reach), _triple(points.max(axis=0) + reach)),
        at_border=any(s.start == 0 or s.stop == n for s, n in zip(box, shape, strict=True)),
    )


def make_report(
    pipeline: Any,
    image: Any,
    found: Any,
    measures: Mapping[str, Measure],
    asked: Sequence[str],
    seconds: Mapping[str, float],
    notes: Sequence[str] = (),
) -> dict:
    """The content of ``report.json``.

    Args: ``pipeline`` (site, device, weights), ``image`` (a ``CtImage``), ``found`` (a ``Segmentation``), ``measures``
    from ``measure``, ``asked``: organ keys that were to be found, ``seconds`` by step, ``notes``: further warnings.
    It names no patient: of the input it has the size, the spacing and a hash of the series UID.
    """
    site: Site = pipeline.site
    border = [f"{site.organ(k).title}: reaches the edge of the image and may be cut off"
              for k, m in measures.items() if m.at_border]  # fmt: skip
    return {
        "schema": SCHEMA,
        "disclaimer": DISCLAIMER,
        "site": site.site,
        "organs": {o.key: _organ_row(o, measures, found.missing) for o in site.organs if o.key in asked},
        "warnings": [*image.warnings, *found.warnings, *border, *notes],
        "input": describe_input(image),
        "seconds": {key: round(float(value), 3) for key, value in seconds.items()},
        "device": str(pipeline.device),
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
        "size_voxels": [int(n) for n in image.tensor.shape[1:]],
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
            found[name] = "unknown"
    return found


def summary_lines(report: Mapping[str, Any]) -> list[str]:
    """The organs of a report as a table for people, one line each."""
    lines = []
    for row in report["organs"].values():
        text = f"{row['volume_cm3']:8.1f} cm3" if row["found"] else f"not found: {row['reason']}"
        lines.append(f"  {row['name']:<18}{text}")
    return lines


def _triple(values: np.ndarray) -> tuple[float, float, float]:
    x, y, z = (float(v) for v in values)
    return x, y, z


def _rounded(values: Sequence[float]) -> list[float]:
    return [round(v, 2) for v in values]
