"""Whether a contour that nobody drew is good enough to train on: what anatomy and a second opinion say.

Every check names a reason of a few words, so that the report can count them. Millimetres are LPS: x towards the
patient's left, y towards posterior, z towards superior.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from oarseg.inference.localize import largest_piece
from oarseg.inference.report.content import Measure
from oarseg.sites import Organ

EYE, NERVE = "eye_", "optic_nerve_"

# The two eyes of a person are alike: the smaller has at least this share of the larger one's volume.
LEAST_VOLUME_RATIO = 0.6
# Between the centres of the eyes: adults' pupils are 54 to 74 mm apart, plus what coarse voxels and gaze add.
EYE_DISTANCE_MM = (50.0, 80.0)
# A head in a mask is hardly turned or tilted: one eye lies no further behind or above the other.
EYE_LEVEL_MM = 12.0
# The nerve leaves the globe, so the two contours meet; between coarse contours less than this is left free.
NERVE_GAP_MM = 4.0
# Centre of the nerve behind the centre of its eye: half a globe (12 mm) and half a nerve (up to 25 mm), generously.
NERVE_BEHIND_MM = (8.0, 45.0)
# ... and towards the nose, as both orbits point to the chiasm; a nerve may run straight for a voxel.
NERVE_MEDIAL_MM = (-2.0, 30.0)
# ... and about level with it.
NERVE_LEVEL_MM = 12.0
# From the globe to the optic canal a nerve takes 25 to 35 mm; an unsure network draws the middle of it.
NERVE_LEAST_MM = 20.0
# One organ is one piece, and only the network's largest becomes a label. With less of the contour than this in it, the
# contour is doubtful; with more, the rest are crumbs of a thin organ on coarse voxels.
LEAST_MAIN_PIECE = 0.7
# What was set to air outside the field of interest shows no organ; lids and sinuses put some air into every contour.
AIR_HU, MOST_AIR = -900, 0.1
# Slices between an organ and the end of what the CT shows: without one, the organ may go on where nobody sees it.
SLICES_BEYOND = 1
# Two opinions about an organ whose centres are further apart than this speak of different things.
AGREE_MM = 10.0
# A network draws what it is sure of, which is less than there is; trained on that, the next one draws less still. So
# its contour replaces a former label only if it has this share of its volume.
LEAST_OF_FORMER = 0.8
# Dice of stage 1 and stage 2. Where they differ, the network is not sure; a thin organ never agrees as well.
STAGES_AGREE = {NERVE: 0.25}
STAGES_AGREE_ELSE = 0.6


@dataclass(frozen=True)
class Scan:
    """A CT as the checks need it: ``hu`` (i, j, k) and its RAS ``affine``."""

    hu: np.ndarray
    affine: np.ndarray


def alone(label: np.ndarray, organ: Organ, found: Measure | None) -> str | None:
    """What is wrong with one organ of a label map by itself; None where nothing is."""
    if found is None:
        return "not found"
    low, high = organ.volume_cm3
    if not low <= found.volume_cm3 <= high:
        return "volume too small" if found.volume_cm3 < low else "volume too large"
    return None


def unsure(mask: np.ndarray, scan: Scan, organ: Organ, found: Measure) -> str | None:
    """What shows that a network was not sure of the organ it drew as ``mask`` (i, j, k); None where nothing does.

    Not for labels by registration: those know the organ beyond the scan's end, and fall to pieces only because
    they were thin before they were put on coarse voxels.
    """
    if largest_piece(mask).sum() < LEAST_MAIN_PIECE * found.voxels:
        return "several pieces"
    if organ.key.startswith(NERVE) and found.box_lps_mm[1][1] - found.box_lps_mm[0][1] < NERVE_LEAST_MM:
        return "too short"
    return cut_off(mask, scan)


def cut_off(mask: np.ndarray, scan: Scan) -> str | None:
    """Whether the scan ends where the organ does; None where it goes on."""
    axis = int(np.abs(scan.affine[2, :3]).argmax())
    others = tuple(a for a in range(3) if a != axis)
    slices, seen = (np.flatnonzero(m.any(axis=others)) for m in (mask, scan.hu > AIR_HU))
    ends = not len(seen) or slices[0] - seen[0] < SLICES_BEYOND or seen[-1] - slices[-1] < SLICES_BEYOND
    return "cut off" if ends or (scan.hu[mask] <= AIR_HU).mean() > MOST_AIR else None


def exchanged(left: Measure, right: Measure) -> str | None:
    """Say whether the left organ of a pair lies to the right of the other; None if it does not."""
    return "left and right exchanged" if left.centroid_lps_mm[0] <= right.centroid_lps_mm[0] else None


def eyes_apart(left: Measure, right: Measure) -> str | None:
    """Say what is wrong with two eyes as a pair; None if nothing is."""
    x, y, z = np.subtract(left.centroid_lps_mm, right.centroid_lps_mm)
    if min(left.volume_cm3, right.volume_cm3) < LEAST_VOLUME_RATIO * max(left.volume_cm3, right.volume_cm3):
        return "eyes unlike in volume"
    if flaw := exchanged(left, right):
        return flaw
    if not EYE_DISTANCE_MM[0] <= float(np.linalg.norm((x, y, z))) <= EYE_DISTANCE_MM[1]:
        return "eyes too near or far"
    if max(abs(y), abs(z)) > EYE_LEVEL_MM:
        return "eyes not level"
    return None


def nerve_place(
    nerve: Measure, eye: Measure, other_eye: Measure | None, gap_mm: float, towards_left: float
) -> str | None:
    """What is wrong with where a nerve lies; None where nothing is.

    Args: ``gap_mm`` between the nerve and its own ``eye``. ``towards_left``: 1 for the left nerve, -1 for the right.
    """
    x, y, z = np.subtract(nerve.centroid_lps_mm, eye.centroid_lps_mm)
    if other_eye is not None and distance_mm(nerve, other_eye) < distance_mm(nerve, eye):
        return "left and right exchanged"
    if gap_mm > NERVE_GAP_MM:
        return "apart from its eye"
    if not NERVE_BEHIND_MM[0] <= y <= NERVE_BEHIND_MM[1]:
        return "not behind its eye"
    if not NERVE_MEDIAL_MM[0] <= -towards_left * x <= NERVE_MEDIAL_MM[1]:
        return "not on the nose's side of its eye"
    if abs(z) > NERVE_LEVEL_MM:
        return "not level with its eye"
    return None


def distance_mm(a: Measure, b: Measure) -> float:
    """Between the centroids of two organs."""
    return float(np.linalg.norm(np.subtract(a.centroid_lps_mm, b.centroid_lps_mm)))


def gap_mm(a: np.ndarray, b: np.ndarray, affine: np.ndarray) -> float:
    """From voxel to voxel of two masks (i, j, k), neither empty, the shortest way, less a voxel's largest side."""
    turn = np.asarray(affine)[:3, :3]
    distance, _ = cKDTree(np.argwhere(a) @ turn.T).query(np.argwhere(b) @ turn.T)
    return max(0.0, float(distance.min() - np.linalg.norm(turn, axis=0).max()))
