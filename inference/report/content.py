"""What a run found, in numbers: measures of each organ, what is implausible about them, and ``report.json``.

Positions are patient millimetres, LPS as DICOM has them.

>>> measures = measure(label, affine, load_site("head_neck"))      # doctest: +SKIP
>>> measures["eye_left"].volume_cm3, measures["eye_left"].centroid_lps_mm                         # doctest: +SKIP
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
from scipy import ndimage

from oarseg import __version__
from oarseg.geometry.affine import LPS_TO_RAS, voxel_spacing
from oarseg.images.read import CtImage
from oarseg.sites import Organ, Site

DISCLAIMER = (
    "For research use only; not a medical device. Contours were made automatically and must be reviewed by a qualified "
    "person before any use."
)
# Raised when a field of report.json changes its meaning.
SCHEMA = 1
# Engines and precisions as people call them.
WORDS = {"openvino": "OpenVINO", "torch": "PyTorch", "int8": "8 bits", "bf16": "bfloat16", "fp32": "float32"}
PACKAGES = ("torch", "monai", "numpy", "nibabel", "pydicom", "openvino", "highdicom")


@dataclass(frozen=True)
class Measure:
    """One organ of a label map.

    ``volume_cm3``: voxels times voxel volume. ``centroid_lps_mm``: mean of the voxel centres. ``box_lps_mm``: lowest
    and highest coordinate of the voxels, their full extent included. ``at_border``: touches the edge of the image,
    so that it may be cut off. ``place``: the least box of voxels that holds it.
    """

    voxels: int
    volume_cm3: float
    centroid_lps_mm: tuple[float, float, float]
    box_lps_mm: tuple[tuple[float, float, float], tuple[float, float, float]]
    at_border: bool
    place: tuple[slice, slice, slice] = field(repr=False)


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


def _measure(mask: np.ndarray, box: tuple[slice, slice, slice], shape: tuple[int, ...], affine: np.ndarray) -> Measure:
    index = np.argwhere(mask) + [s.start for s in box]
    affine = LPS_TO_RAS @ affine
    turn = affine[:3, :3]
    points = index @ turn.T + affine[:3, 3]
    # A voxel reaches half a step along each of its three axes, whichever way they point.
    reach = np.abs(turn).sum(axis=1) / 2
    return Measure(
        voxels=len(index),
        volume_cm3=len(index) * abs(float(np.linalg.det(turn))) / 1000,
        centroid_lps_mm=_triple(points.mean(axis=0)),
        box_lps_mm=(_triple(points.min(axis=0) - reach), _triple(points.max(axis=0) + reach)),
        at_border=any(s.start == 0 or s.stop == n for s, n in zip(box, shape, strict=True)),
        place=box,
    )


def _triple(values: np.ndarray) -> tuple[float, float, float]:
    x, y, z = (float(v) for v in values)
    return x, y, z


def implausibilities(measures: Mapping[str, Measure], site: Site) -> list[str]:
    """Return warnings about volumes that no organ has, and about left and right exchanged."""
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
    """Return what computed the contours: "OpenVINO, 8 bits, compressed networks, on cpu"."""
    engine = report["engine"]
    networks = "original" if engine["networks"].endswith(".pt") else "compressed"
    name, precision = (WORDS.get(engine[key], engine[key]) for key in ("name", "precision"))
    return f"{name}, {precision}, {networks} networks, on {report['device']}"


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
