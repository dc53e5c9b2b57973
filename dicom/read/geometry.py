"""Slice positions and orientations -> one regular grid, or a GeometryError that shows the positions.

Everything is in patient millimetres, LPS as DICOM has it, until the affine, which is RAS+ as nibabel and MONAI have it.
Orientation is never a case of its own: prone, feet first, decubitus, sagittal and oblique stacks differ in the numbers
of the affine alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from oarseg.dicom.read.header import Header
from oarseg.errors import GeometryError
from oarseg.geometry.affine import LPS_TO_RAS

# Two slices nearer than this along the normal are at one position.
DUPLICATE_MM = 0.01
# A step may differ from the median step by this share, or by SPACING_MM (positions are often rounded to 0.1 mm).
SPACING_SHARE = 0.1
SPACING_MM = 0.1
# No slice may lie further than this from where even spacing between the first and the last would put it.
DRIFT_MM = 1.0
# A step of this many median steps is called a gap: slices are missing.
GAP_STEPS = 1.5
# Sideways shift of any slice against the first, off the slice normal: beyond this the stack is sheared (tilted gantry).
SHEAR_MM = 0.5
# Gantry tilt in degrees that is worth a warning although the positions are straight.
TILT_DEGREES = 0.5
# Direction cosines and pixel spacings: largest difference between slices, and from unit length and right angle.
COSINE = 1e-3
PIXEL_MM = 1e-3
_SHOWN = 12


def stack(slices: Sequence[Header]) -> tuple[list[Header], np.ndarray]:
    """Return the slices in order along their normal (row cosine x column cosine), and the affine.

    The affine (4, 4) takes an index (slice, row, column) to RAS+ mm.
    Raises GeometryError: missing or bad geometry tags, mixed orientation, spacing or frame of reference, duplicate
    positions, missing slices, uneven spacing, tilted gantry.
    """
    cosines = _one([_required(h, "ImageOrientationPatient", 6) for h in slices], COSINE, "orientations", slices)
    spacing = _one([_required(h, "PixelSpacing", 2) for h in slices], PIXEL_MM, "pixel spacings", slices)
    _one_frame(slices)
    along_row, along_column = _axes(cosines)
    if min(spacing) <= 0:
        raise GeometryError(f"PixelSpacing is {list(spacing)} mm, expected two positive numbers; export the CT again")
    normal = np.cross(along_row, along_column)
    positions = np.array([_required(h, "ImagePositionPatient", 3) for h in slices])
    height = positions @ normal
    order = np.argsort(height, kind="stable")
    height, positions = height[order], positions[order]
    ordered = [slices[i] for i in order]
    _check_steps(height, ordered)
    _check_shear(positions, normal)
    step = (height[-1] - height[0]) / (len(height) - 1)
    lps = np.eye(4)
    lps[:3, 0] = normal * step
    # PixelSpacing is (between rows, between columns); the row index moves along the column direction.
    lps[:3, 1] = along_column * spacing[0]
    lps[:3, 2] = along_row * spacing[1]
    lps[:3, 3] = positions[0]
    return ordered, LPS_TO_RAS @ lps


def tilt_warning(slices: Sequence[Header]) -> str | None:
    """Return a warning where the header names a gantry tilt although the slice positions are straight."""
    tilts = [h.numbers("GantryDetectorTilt", 1) for h in slices]
    largest = max((abs(t[0]) for t in tilts if t), default=0.0)
    if largest <= TILT_DEGREES:
        return None
    return f"GantryDetectorTilt is {largest:g} degrees, yet the slice positions are straight; they were trusted"


def _required(header: Header, keyword: str, count: int) -> tuple[float, ...]:
    numbers = header.numbers(keyword, count)
    if numbers is None:
        raise GeometryError(f"{header.path.name}: {keyword} is missing or unreadable: export the CT again")
    return numbers


def _one(rows: list[tuple[float, ...]], tolerance: float, what: str, slices: Sequence[Header]) -> np.ndarray:
    values = np.array(rows)
    differs = np.abs(values - values[0]).max(axis=1) > tolerance
    if differs.any():
        other = int(np.argmax(differs))
        raise GeometryError(
            f"the series mixes {what}: {_numbers(values[0])} in {slices[0].path.name}, {_numbers(values[other])} in "
            f"{slices[other].path.name} ({int(differs.sum())} of {len(rows)} slices differ from the first); "
            "split the series at the scanner or archive"
        )
    return values[0]


def _one_frame(slices: Sequence[Header]) -> None:
    frames = {h.text("FrameOfReferenceUID") for h in slices}
    if len(frames) > 1:
        names = ", ".join(sorted(f or "none" for f in frames))
        raise GeometryError(f"the series mixes {len(frames)} frames of reference ({names}); split the series")


def _axes(cosines: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    along_row, along_column = cosines[:3], cosines[3:]
    lengths = np.linalg.norm(along_row), np.linalg.norm(along_column)
    if max(abs(n - 1) for n in lengths) > COSINE or abs(along_row @ along_column) > COSINE:
        raise GeometryError(
            f"ImageOrientationPatient is {_numbers(cosines)}, expected two unit vectors at a right angle; "
            "export the CT again"
        )
    along_row = along_row / lengths[0]
    # Written with few decimals the two are not quite at a right angle, and MONAI wants a pure rotation.
    along_column = along_column - (along_column @ along_row) * along_row
    return along_row, along_column / np.linalg.norm(along_column)


def _check_steps(height: np.ndarray, slices: Sequence[Header]) -> None:
    steps = np.diff(height)
    same = steps < DUPLICATE_MM
    if same.any():
        raise GeometryError(_duplicates(height, same, slices))
    median = float(np.median(steps))
    off = np.abs(steps - median) > max(SPACING_SHARE * median, SPACING_MM)
    if not off.any():
        _check_drift(height)
        return
    shown = "; ".join(f"{height[i]:.2f} to {height[i + 1]:.2f} mm" for i in np.flatnonzero(off)[:_SHOWN])
    places = f"at {shown} (slice positions: {_positions(height)})"
    if (steps[off] >= GAP_STEPS * median).all():
        missing = int(np.rint(steps[off] / median - 1).sum())
        raise GeometryError(
            f"the series has gaps: about {missing} slice(s) missing, expected one every {median:.2f} mm, {places}; "
            "export or transfer the series again"
        )
    raise GeometryError(
        f"the slices are unevenly spaced: {steps.min():.2f} to {steps.max():.2f} mm apart, median {median:.2f} mm, "
        f"{places}; reconstruct the CT with one slice spacing"
    )


def _check_drift(height: np.ndarray) -> None:
    """Refuse steps that differ by little each, but one way: they carry the slices away from even positions."""
    drift = float(np.abs(height - np.linspace(height[0], height[-1], len(height))).max())
    if drift > DRIFT_MM:
        raise GeometryError(
            f"the slice spacing changes along the series: slices lie up to {drift:.2f} mm from even positions, at most "
            f"{DRIFT_MM:g} mm can be used; reconstruct the CT with one slice spacing"
        )


def _duplicates(height: np.ndarray, same: np.ndarray, slices: Sequence[Header]) -> str:
    first = int(np.argmax(same))
    acquisitions = {h.text("AcquisitionNumber") for h in slices}
    several = f" The series holds {len(acquisitions)} acquisitions: export one." if len(acquisitions) > 1 else ""
    return (
        f"{int(same.sum())} slice(s) lie at the position of another one (such as {slices[first].path.name} and "
        f"{slices[first + 1].path.name} at {height[first]:.2f} mm); expected one slice a position.{several} "
        f"Take the repeated slices out of the series. Slice positions: {_positions(height)}"
    )


def _check_shear(positions: np.ndarray, normal: np.ndarray) -> None:
    moved = positions - positions[0]
    sideways = np.linalg.norm(moved - np.outer(moved @ normal, normal), axis=1)
    if sideways.max() <= SHEAR_MM:
        return
    angle = np.degrees(np.arctan2(sideways[-1], np.linalg.norm(moved[-1] @ normal)))
    if sideways[-1] > SHEAR_MM:
        cause = f"the gantry was tilted: the stack is sheared by {angle:.1f} degrees"
        todo = "scan without gantry tilt, or reconstruct to straight slices"
    else:
        cause, todo = "the slices are shifted sideways", "export the CT again"
    raise GeometryError(
        f"{cause} ({sideways.max():.2f} mm off the slice normal, at most {SHEAR_MM} mm can be used; first slice at "
        f"{_numbers(positions[0])}, last at {_numbers(positions[-1])}); {todo}"
    )


def _numbers(values: np.ndarray) -> str:
    return "(" + ", ".join(f"{v:.6g}" for v in values) + ")"


def _positions(height: np.ndarray) -> str:
    shown = [f"{h:.2f}" for h in height]
    if len(shown) > _SHOWN:
        shown = [*shown[: _SHOWN // 2], "...", *shown[-_SHOWN // 2 :]]
    return ", ".join(shown)
