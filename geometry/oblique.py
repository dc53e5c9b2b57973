"""A CT whose voxel axes lie oblique to the patient's: resampled onto them, its organs painted on its own voxels.

The networks have seen heads turned by a few degrees, and boxes lie along the axes of what is looked at. So beyond
``OBLIQUE_DEGREES`` the CT is straightened once, and every organ's probability is looked up at the centres of the
original voxels, through the affines: contours never leave their slices.
"""

from __future__ import annotations

import math
import os
from concurrent.futures import ThreadPoolExecutor

import nibabel as nib
import numpy as np
from scipy import ndimage

from oarseg.errors import GeometryError
from oarseg.geometry.canvas import Canvas
from oarseg.geometry.check_ct import MAX_VOXELS
from oarseg.geometry.grid import Grid, image_grid
from oarseg.geometry.obliqueness import OBLIQUE_DEGREES, obliqueness
from oarseg.geometry.volume import AXES, LOW_HU, Volume, hu_volume, scaled, turned, turned_geometry

# Slices that a thread straightens at a time.
SLAB = 8


def oblique_warnings(affine: np.ndarray) -> list[str]:
    """What to tell where the CT is straightened; nothing where it is not."""
    degrees = obliqueness(affine)
    if degrees <= OBLIQUE_DEGREES:
        return []
    return [
        f"the voxel axes lie {degrees:.0f} degrees oblique to the patient's: the CT was resampled onto the patient's "
        "axes, and the organs were returned to its own slices; look at the contours"
    ]


def placed(hu: np.ndarray, affine: np.ndarray, label: np.ndarray) -> tuple[Volume, Canvas, np.ndarray]:
    """A CT as the stages see it, the canvas that paints ``label``, and the RAS affine of the volume's grid.

    ``hu``, ``label`` (uint8 zeros): (i, j, k) with ``affine`` (4, 4) to RAS mm. Up to ``OBLIQUE_DEGREES`` the volume is
    a view of ``hu``; beyond, it costs one int16 volume around the turned one.
    Raises GeometryError where that would be too large.
    """
    if obliqueness(affine) > OBLIQUE_DEGREES:
        volume, axes = straightened(hu, affine)
        return volume, ObliqueCanvas(label, affine, axes), axes
    volume = hu_volume(hu, affine)
    return volume, Canvas(volume.grid, turned(label, affine)), turned_geometry(hu.shape, affine)[1]


def straightened(hu: np.ndarray, affine: np.ndarray) -> tuple[Volume, np.ndarray]:
    """The CT on the patient's axes, air around it, and the RAS affine of that grid (axes ``AXES``)."""
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
    """Shape and RAS affine of the least grid along the patient's axes that holds all voxels of ``shape``.

    Along each axis its spacing is the finest that the CT has in that direction, so that no detail is lost.
    """
    matrix = np.asarray(affine, dtype=float)[:3, :3]
    spacing = np.linalg.norm(matrix, axis=0)
    order, signs = nib.orientations.axcodes2ornt(AXES).T
    fine = 1 / np.linalg.norm(matrix / spacing**2, axis=1)
    ends = np.array(np.meshgrid(*([-0.5, n - 0.5] for n in shape), indexing="ij")).reshape(3, 8)
    corners = matrix @ ends + np.asarray(affine, dtype=float)[:3, 3:]
    low, high = corners.min(axis=1), corners.max(axis=1)
    axes, sizes = np.eye(4), []
    axes[:3, :3] = 0
    for column, (world, sign) in enumerate(zip(order.astype(int), signs, strict=True)):
        size = max(1, math.ceil((high[world] - low[world]) / fine[world] - 1e-6))
        axes[world, column] = sign * fine[world]
        # Centred, so that what rounding up adds lies on both sides.
        axes[world, 3] = (low[world] + high[world]) / 2 - sign * fine[world] * (size - 1) / 2
        sizes.append(size)
    return tuple(sizes), axes


class ObliqueCanvas(Canvas):
    """A canvas whose voxels lie oblique to the grids that organs are painted from.

    ``label`` (i, j, k) uint8, all zero, with ``affine``; ``axes``: RAS affine of the straight grid whose millimetres
    the organs' grids are in.
    """

    def __init__(self, label: np.ndarray, affine: np.ndarray, axes: np.ndarray) -> None:
        self.label = label
        self.certainty = np.zeros(label.shape, np.float16)
        spacing = np.linalg.norm(axes[:3, :3], axis=0)
        # Millimetres of a grid begin at the outer corner of its first voxel.
        to_mm = np.diag([*spacing, 1.0])
        to_mm[:3, 3] = spacing / 2
        self._to_mm = to_mm @ np.linalg.inv(axes) @ affine

    def _sampled(self, probability: np.ndarray, source: Grid) -> tuple[tuple[slice, ...], np.ndarray]:
        ends = [[o, o + e] for o, e in zip(source.origin, source.extent, strict=True)]
        corners = np.array(np.meshgrid(*ends, indexing="ij")).reshape(3, 8)
        inverse = np.linalg.inv(self._to_mm)
        index = inverse[:3, :3] @ corners + inverse[:3, 3:]
        low = np.clip(np.floor(index.min(axis=1)), 0, self.label.shape).astype(int)
        high = np.clip(np.ceil(index.max(axis=1)) + 1, low, self.label.shape).astype(int)
        region = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
        shape = tuple(int(n) for n in high - low)
        if 0 in shape:
            return region, np.zeros(shape, np.float16)
        scale = 1 / np.asarray(source.spacing)
        matrix = scale[:, None] * self._to_mm[:3, :3]
        offset = scale * (self._to_mm[:3, :3] @ low + self._to_mm[:3, 3] - source.origin) - 0.5
        fine = ndimage.affine_transform(probability, matrix, offset, shape, np.float32, 1, "grid-constant")
        return region, fine.astype(np.float16)
