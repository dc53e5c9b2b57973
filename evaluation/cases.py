"""Scores of one case: every organ that its reference labels, and the case as a whole.

Only organs that the reference labels count; what else was predicted is background here. An organ is

- ``ok``: in the reference and in the prediction;
- ``missed``: in the reference only. Dice and surface Dice are 0, distances are blank and never averaged;
- ``spurious``: predicted although the reference, which labels the organ, has no voxel of it. Dice and surface Dice are
  0 as eq. 2-6 has it, distances are blank;
- ``absent``: in neither. Nothing is scored; the row says that the organ was rightly not found.

``swapped``: a left organ that covers more of the right one's reference than of its own, or, touching neither, lies
nearer to it; and the other way round. It needs the twin in the reference.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from oarseg.errors import ConfigError, GeometryError
from oarseg.evaluation.metrics import check_tolerance, dice, pixel_scores, surface_scores
from oarseg.evaluation.scores import Status
from oarseg.geometry.check_ct import check_affine
from oarseg.sites import Organ, Site

# mm within which surfaces agree: what redrawing by another expert typically differs by.
TOLERANCE_MM = 2.0
DECIMALS = 4

Box = tuple[slice, slice, slice]


class _Masks:
    """The organs of one label map (i, j, k), each as its mask within its own box, found once."""

    def __init__(self, label: np.ndarray, affine: np.ndarray, count: int) -> None:
        self.label, self.affine = label, np.asarray(affine, dtype=float)
        self.boxes = ndimage.find_objects(label, max_label=count)

    def box(self, organ: Organ) -> Box | None:
        return self.boxes[organ.value - 1]

    def within(self, organ: Organ, box: Box) -> np.ndarray:
        return self.label[box] == organ.value

    def voxels(self, organ: Organ) -> int:
        box = self.box(organ)
        return int(np.count_nonzero(self.within(organ, box))) if box else 0

    def centroid_mm(self, organ: Organ) -> np.ndarray:
        """RAS mm of the mean voxel centre; the organ must have voxels."""
        box = self.box(organ)
        index = np.argwhere(self.within(organ, box)).mean(axis=0) + [s.start for s in box]
        return self.affine[:3, :3] @ index + self.affine[:3, 3]


def score_case(
    case: str,
    prediction: np.ndarray,
    reference: np.ndarray,
    affine: np.ndarray,
    labelled: Sequence[str],
    site: Site,
    tolerance_mm: float = TOLERANCE_MM,
) -> tuple[list[dict], dict]:
    """Return the scores of one case.

    Args:
        prediction, reference: label maps (i, j, k) of integers on one grid, label values of ``site``.
        affine: (4, 4), index to RAS mm.
        labelled: keys of the organs that the reference labels.
        tolerance_mm: of the surface Dice.
    Returns one row for each labelled organ (keys ``oarseg.evaluation.scores.FIELDS``), in the table's order, and the
    row of the case (``CASE_FIELDS``). Figures are rounded to ``DECIMALS``.
    Raises GeometryError where the grids differ or the affine is none, ConfigError for values that are no organ, an
    unknown organ or nothing labelled.
    """
    check_tolerance(tolerance_mm)
    if prediction.shape != reference.shape:
        raise GeometryError(f"{case}: the prediction has {prediction.shape} voxels, the reference {reference.shape}")
    spacing = np.array(check_affine(affine, case))
    organs = sorted((site.organ(key) for key in set(labelled)), key=lambda o: o.value)
    if not organs:
        raise ConfigError(f"{case}: the reference labels no organ; expected at least one")
    predicted, true = (_checked(array, affine, site, case) for array in (prediction, reference))
    twins = {o.key: site.organ(o.mirror) if o.mirror in labelled else None for o in organs}
    rows = []
    for organ in organs:
        row = _organ_row(predicted, true, organ, spacing, tolerance_mm)
        row["swapped"] = swapped(predicted, true, organ, twins[organ.key])
        rows.append({"case": case, "organ": organ.key} | row)
    pixels = pixel_scores(predicted.label, true.label, [o.value for o in organs])
    others = [o.key for o in site.organs if o not in organs and predicted.box(o)]
    whole = {"case": case, "classes": len(organs) + 1, **{k: round(v, DECIMALS) for k, v in pixels.items()}}
    return rows, whole | {"not_judged": " ".join(others)}


def _checked(label: np.ndarray, affine: np.ndarray, site: Site, case: str) -> _Masks:
    if label.dtype.kind not in "iu":
        raise ConfigError(f"{case}: a label map of type {label.dtype}, expected integers")
    low, high = int(label.min()), int(label.max())
    if low < 0 or high > len(site.organs):
        raise ConfigError(
            f"{case}: label values from {low} to {high}, but {site.site} has 0 to {len(site.organs)}; see oarseg organs"
        )
    return _Masks(label, affine, len(site.organs))


def _organ_row(predicted: _Masks, true: _Masks, organ: Organ, spacing: np.ndarray, tolerance_mm: float) -> dict:
    cm3 = float(np.prod(spacing)) / 1000
    n_predicted, n_true = predicted.voxels(organ), true.voxels(organ)
    row: dict = dict.fromkeys(("dice", "surface_dice", "hd95_mm", "msd_mm", "centroid_mm", "volume_error_percent"))
    row["status"] = _status(n_predicted, n_true)
    row |= {"reference_cm3": n_true * cm3, "predicted_cm3": n_predicted * cm3}
    row["volume_error_cm3"] = (n_predicted - n_true) * cm3
    if n_true:
        row["volume_error_percent"] = 100 * (n_predicted - n_true) / n_true
    if row["status"] in (Status.MISSED, Status.SPURIOUS):
        row["dice"] = row["surface_dice"] = 0.0
    elif row["status"] is Status.OK:
        box = _union(predicted.box(organ), true.box(organ))
        a, b = predicted.within(organ, box), true.within(organ, box)
        row["dice"] = dice(a, b)
        row |= surface_scores(a, b, spacing, tolerance_mm)
        row["centroid_mm"] = float(np.linalg.norm(predicted.centroid_mm(organ) - true.centroid_mm(organ)))
    row["tolerance_mm"] = float(tolerance_mm)
    return {k: round(v, DECIMALS) if isinstance(v, float) else v for k, v in row.items()}


def _status(n_predicted: int, n_true: int) -> Status:
    if n_true:
        return Status.OK if n_predicted else Status.MISSED
    return Status.SPURIOUS if n_predicted else Status.ABSENT


def swapped(predicted: _Masks, true: _Masks, organ: Organ, twin: Organ | None) -> bool:
    """Return whether the predicted ``organ`` is its mirror ``twin``'s; False where there is no twin to compare with."""
    box = predicted.box(organ)
    if box is None or twin is None or true.box(twin) is None:
        return False
    mask = predicted.within(organ, box)
    own, other = (int(np.count_nonzero(mask & true.within(o, box))) for o in (organ, twin))
    if own or other or true.box(organ) is None:
        return other > own
    centre = predicted.centroid_mm(organ)
    distances = [np.linalg.norm(centre - true.centroid_mm(o)) for o in (organ, twin)]
    return bool(distances[1] < distances[0])


def _union(a: Box, b: Box) -> Box:
    x, y, z = (slice(min(s.start, t.start), max(s.stop, t.stop)) for s, t in zip(a, b, strict=True))
    return x, y, z
