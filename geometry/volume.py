"""A CT as both stages see it: turned to slices towards superior, rows towards posterior, columns towards left.

Turning costs nothing (strides), and scaling (eq. 3-2) is done where voxels are looked at, so that no second volume is
held.

The networks have seen heads turned by a few degrees, and boxes lie along the axes of what is looked at. So beyond
``OBLIQUE_DEGREES`` a CT is straightened once, and every organ's probability is looked up at the centres of the original
voxels, through the affines: contours never leave their slices.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import nibabel as nib
import numpy as np
from scipy import ndimage

from oarseg.errors import GeometryError
from oarseg.geometry.affine import OBLIQUE_DEGREES, corner_points, obliqueness, voxel_spacing
from oarseg.geometry.check_ct import MAX_VOXELS
from oarseg.geometry.grid import Grid, image_grid, resample

# D, H, W of every grid and box.
AXES = ("S", "P", "L")
# Eq. 3-2: HU are clipped to these and scaled to [0, 1].
LOW_HU, HIGH_HU = -1000, 600
# Slices that a thread straightens at a time.
SLAB = 8


def scaled(hu: np.ndarray) -> np.ndarray:
    """Return HU clipped and scaled to [0, 1] (eq. 3-2), float32."""
    clipped = np.clip(hu, LOW_HU, HIGH_HU)
    # Integers are exact after the clip, whatever their width.
    return (clipped.astype(np.float32) - np.float32(LOW_HU)) * np.float32(1 / (HIGH_HU - LOW_HU))


@dataclass(frozen=True, eq=False)
class Volume:
    """``voxels`` (D, H, W) on ``grid``. ``values``: scales a slice by eq. 3-2; None if the voxels are scaled."""

    voxels: np.ndarray
    grid: Grid
    values: Callable[[np.ndarray], np.ndarray] | None = None

    def on(self, grid: Grid) -> np.ndarray:
        """Return the scaled image on ``grid``, (1, 1, d, h, w) float32; air (0) beyond the CT."""
        return resample(self.voxels[None], self.grid, grid, values=self.values)[None]


def hu_volume(hu: np.ndarray, affine: np.ndarray) -> Volume:
    """Return the volume of a CT: ``hu`` (i, j, k) in any number type, ``affine`` (4, 4) to RAS mm."""
    return Volume(turned(hu, affine), image_grid(*turned_geometry(hu.shape, affine)), scaled)


def turned(array: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Return a view of ``array`` (i, j, k) with axes ``AXES``; what is written to it lands in ``array``."""
    return nib.orientations.apply_orientation(array, _turn(affine))


def turned_geometry(shape: tuple[int, int, int], affine: np.ndarray) -> tuple[tuple[int, int, int], np.ndarray]:
    """Return shape and RAS affine of what :func:`turned` gives of an array of ``shape`` with ``affine``."""
    turn = _turn(affine)
    order = np.argsort(turn[:, 0])
    after = np.asarray(affine, dtype=float) @ nib.orientations.inv_ornt_aff(turn, shape)
    return tuple(int(shape[axis]) for axis in order), after


def oblique_warnings(affine: np.ndarray) -> list[str]:
    """Return the warning about a CT that is straightened; an empty list for any other."""
    degrees = obliqueness(affine)
    if degrees <= OBLIQUE_DEGREES:
        return []
    return [
        f"the voxel axes lie {degrees:.0f} degrees oblique to the patient's: the CT was resampled onto the patient's "
        "axes, and the organs were returned to its own slices; look at the contours"
    ]


def straightened(hu: np.ndarray, affine: np.ndarray) -> tuple[Volume, np.ndarray]:
    """Return the CT on the patient's axes, air around it, and the RAS affine of that grid (axes ``AXES``)."""
    shape, axes = straight_geometry(hu.shape, affine)
    if math.prod(shape) > MAX_VOXELS:
        raise GeometryError(
            f"the voxel axes lie {obliqueness(affine):.0f} degrees oblique to the patient's: resampled onto them, the "
            f"CT would have {' x '.join(map(str, shape))} voxels, more than {MAX_VOXELS:,}; crop it to the organs"
        )
    there = np.linalg.inv(affine) @ axes
    # Whole HU are what the reader gives; linear interpolation needs no floating-point copy of the volume.
    out = np.empty(shape, np.int16)

    def fill(start: int) -> None:
        part = out[start : start + SLAB]
        offset = there[:3, :3] @ [start, 0, 0] + there[:3, 3]
        ndimage.affine_transform(hu, there[:3, :3], offset, part.shape, part, 1, "grid-constant", LOW_HU)

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        list(threads.map(fill, range(0, shape[0], SLAB)))
    return Volume(out, image_grid(shape, axes), scaled), axes


def straight_geometry(shape: tuple[int, ...], affine: np.ndarray) -> tuple[tuple[int, int, int], np.ndarray]:
    """Return the least grid along the patient's axes that holds all voxels of ``shape``: its shape and RAS affine.

    Along each axis its spacing is the finest that the CT has in that direction, so that no detail is lost.
    """
    matrix = np.asarray(affine, dtype=float)[:3, :3]
    spacing = voxel_spacing(affine)
    order, signs = nib.orientations.axcodes2ornt(AXES).T
    fine = 1 / np.linalg.norm(matrix / spacing**2, axis=1)
    corners = corner_points(affine, [-0.5] * 3, [n - 0.5 for n in shape])
    low, high = corners.min(axis=0), corners.max(axis=0)
    axes, sizes = np.eye(4), []
    axes[:3, :3] = 0
    for column, (world, sign) in enumerate(zip(order.astype(int), signs, strict=True)):
        size = max(1, math.ceil((high[world] - low[world]) / fine[world] - 1e-6))
        axes[world, column] = sign * fine[world]
        # Centred, so that what rounding up adds lies on both sides.
        axes[world, 3] = (low[world] + high[world]) / 2 - sign * fine[world] * (size - 1) / 2
        sizes.append(size)
    return tuple(sizes), axes


def _turn(affine: np.ndarray) -> np.ndarray:
    here, there = nib.io_orientation(np.asarray(affine, dtype=float)), nib.orientations.axcodes2ornt(AXES)
    return nib.orientations.ornt_transform(here, there)
