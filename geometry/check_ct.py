"""Check that an array is a CT in HU on a sane grid, before minutes are spent on it.

>>> check_ct(volume, affine, "ct.nii.gz")                          # doctest: +SKIP
['ct.nii.gz: slices 7 mm apart; small organs are contoured poorly beyond 5 mm']
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from oarseg.errors import GeometryError, InputError
from oarseg.geometry.affine import voxel_spacing

# Fewer voxels than this along an axis hold no organ; more than this in all is no patient.
MIN_VOXELS = 8
MAX_VOXELS = 600_000_000
# Millimetres between voxels: outside it the file is in another unit; above the second figure contours get coarse.
SPACING_MM = (0.05, 20.0)
COARSE_MM = 5.0
# Cosine between two axes that should be at right angles (0.3 degrees); NIfTI stores them in single precision.
SHEAR_COSINE = 5e-3
# In HU air is near -1000 and soft tissue near 0 to 100: a CT of a patient reaches below the one and above the other.
AIR_HU, DENSE_HU = -200, 100
# Beyond these the values are odd (metal aside), yet usable: the networks see -1000 to 600 HU only.
ODD_HU = (-4096, 32000)
# Where soft tissue and unrescaled soft tissue (1024 higher) lie, to tell a forgotten RescaleIntercept.
TISSUE_HU, UNSCALED_HU = (-150, 200), (850, 1250)
SMALL_MM = 60.0
_SAMPLE = 2_000_000


def check_ct(array: npt.ArrayLike, affine: npt.ArrayLike, name: str = "the image") -> list[str]:
    """Refuse what cannot be contoured; return warnings about what is merely unusual, each naming ``name``.

    Args: ``array`` (i, j, k), any number type, in HU. ``affine`` (4, 4), index to mm.
    Raises InputError (not 3-D, not finite, not HU) or GeometryError (the affine), one line each.
    """
    values = np.asarray(array)
    check_shape(values.shape, name)
    spacing = check_affine(affine, name)
    low, high = _range(values, name)
    _check_hu(values, low, high, name)
    return _unusual(values, spacing, low, high, name)


def check_shape(shape: tuple[int, ...], name: str) -> None:
    """Refuse a shape that is no volume. Raises InputError."""
    size = " x ".join(map(str, shape)) or "no"
    if len(shape) != 3:
        raise InputError(f"{name}: {len(shape)}-D image ({size} voxels), expected one 3-D CT; give a single volume")
    if min(shape) < MIN_VOXELS:
        raise InputError(
            f"{name}: {size} voxels, expected at least {MIN_VOXELS} along each axis; give the whole CT, not slices"
        )
    if math.prod(shape) > MAX_VOXELS:
        raise InputError(f"{name}: {size} voxels are more than {MAX_VOXELS:,}; crop the CT to the region of the organs")


def check_affine(affine: npt.ArrayLike, name: str) -> tuple[float, float, float]:
    """Refuse an affine that is no rotation times spacings; return the spacings in mm. Raises GeometryError."""
    matrix = np.asarray(affine, dtype=float)
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
        raise GeometryError(f"{name}: the affine holds NaN, infinity or the wrong size; export the CT again")
    spacing = voxel_spacing(matrix)
    shown = " x ".join(f"{s:.4g}" for s in spacing)
    if spacing.min() <= 0:
        raise GeometryError(f"{name}: voxel spacing {shown} mm, expected three positive numbers; export the CT again")
    if spacing.min() < SPACING_MM[0] or spacing.max() > SPACING_MM[1]:
        raise GeometryError(
            f"{name}: voxel spacing {shown} mm, expected {SPACING_MM[0]:g} to {SPACING_MM[1]:g}; is the file in mm?"
        )
    directions = matrix[:3, :3] / spacing
    cosines = directions.T @ directions - np.eye(3)
    if np.abs(cosines).max() > SHEAR_COSINE:
        degrees = math.degrees(math.asin(min(1.0, float(np.abs(cosines).max()))))
        raise GeometryError(
            f"{name}: the voxel axes are not at right angles ({degrees:.1f} degrees off: tilted gantry or sheared); "
            "resample the CT to a straight grid"
        )
    return tuple(spacing.tolist())


def _range(values: np.ndarray, name: str) -> tuple[float, float]:
    if values.dtype.kind not in "iuf":
        raise InputError(f"{name}: voxels of type {values.dtype}, expected numbers in HU; give a CT, not a mask")
    # NaN travels through min and max, so that no mask of the volume's size is made.
    low, high = float(values.min()), float(values.max())
    if not math.isfinite(low) or not math.isfinite(high):
        raise InputError(f"{name}: holds NaN or infinite voxels; export the CT again or replace them by -1000 (air)")
    if low == high:
        raise InputError(f"{name}: every voxel is {low:g}, the image is empty; export the CT again")
    return low, high


def _check_hu(values: np.ndarray, low: float, high: float, name: str) -> None:
    found = f"{name}: does not look like CT in HU: values from {low:g} to {high:g}"
    if low >= -1.5 and high <= 1.5:
        raise InputError(f"{found}, so it was scaled already; give the original CT")
    if low > AIR_HU:
        raise InputError(f"{found}, but air should be near -1000; give a CT (not MR, PET or labels) in HU")
    if high < DENSE_HU:
        raise InputError(f"{found}, but bone should be well above {DENSE_HU}; give a CT of a patient in HU")
    sample = _sample(values)
    tissue, unscaled = _share(sample, *TISSUE_HU), _share(sample, *UNSCALED_HU)
    if unscaled > 0.03 and tissue < 0.2 * unscaled:
        raise InputError(f"{found}, with soft tissue near 1000; the rescale intercept (-1024) seems not applied")


def _unusual(values: np.ndarray, spacing: tuple, low: float, high: float, name: str) -> list[str]:
    found = []
    if max(spacing) > COARSE_MM:
        found.append(
            f"{name}: voxels {max(spacing):.3g} mm apart; small organs are contoured poorly beyond {COARSE_MM:g} mm"
        )
    extent = [n * s for n, s in zip(values.shape, spacing, strict=True)]
    if min(extent) < SMALL_MM:
        found.append(f"{name}: only {min(extent):.0f} mm along one axis; organs may be cut off")
    if low < ODD_HU[0] or high > ODD_HU[1]:
        found.append(f"{name}: values from {low:g} to {high:g} are odd for HU; those outside -1000 to 600 are clipped")
    if _share(_sample(values), *TISSUE_HU) < 0.005:
        found.append(f"{name}: hardly any soft tissue ({TISSUE_HU[0]} to {TISSUE_HU[1]} HU); is it a CT of a patient?")
    return found


def _sample(values: np.ndarray) -> np.ndarray:
    step = max(1, math.ceil((values.size / _SAMPLE) ** (1 / 3)))
    return values[::step, ::step, ::step]


def _share(values: np.ndarray, low: float, high: float) -> float:
    return float(np.mean((values >= low) & (values <= high)))
