"""A CT as both stages see it: turned to slices towards superior, rows towards posterior, columns towards left.

Turning costs nothing (strides), and scaling (eq. 3-2) is done where voxels are looked at, so that no second volume is
held.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import nibabel as nib
import numpy as np

from oarseg.geometry.grid import Grid, image_grid, resample

# D, H, W of every grid and box.
AXES = ("S", "P", "L")
# Eq. 3-2: HU are clipped to these and scaled to [0, 1].
LOW_HU, HIGH_HU = -1000, 600


def scaled(hu: np.ndarray) -> np.ndarray:
    """HU clipped and scaled to [0, 1] (eq. 3-2), float32."""
    clipped = np.clip(hu, LOW_HU, HIGH_HU)
    # Integers are exact after the clip, whatever their width.
    return (clipped.astype(np.float32) - np.float32(LOW_HU)) * np.float32(1 / (HIGH_HU - LOW_HU))


@dataclass(frozen=True, eq=False)
class Volume:
    """``voxels`` (D, H, W) on ``grid``. ``values``: what scales a slice of them by eq. 3-2; None where they are."""

    voxels: np.ndarray
    grid: Grid
    values: Callable[[np.ndarray], np.ndarray] | None = None

    def on(self, grid: Grid) -> np.ndarray:
        """The scaled image on ``grid``, (1, 1, d, h, w) float32; air (0) beyond the CT."""
        return resample(self.voxels[None], self.grid, grid, values=self.values)[None]


def hu_volume(hu: np.ndarray, affine: np.ndarray) -> Volume:
    """The volume of a CT: ``hu`` (i, j, k) in any number type, ``affine`` (4, 4) to RAS mm."""
    return Volume(turned(hu, affine), image_grid(*turned_geometry(hu.shape, affine)), scaled)


def turned(array: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """A view of ``array`` (i, j, k) with axes ``AXES``; what is written to it lands in ``array``."""
    return nib.orientations.apply_orientation(array, _turn(affine))


def turned_geometry(shape: tuple[int, int, int], affine: np.ndarray) -> tuple[tuple[int, int, int], np.ndarray]:
    """Shape and RAS affine of what :func:`turned` gives of an array of ``shape`` with ``affine``."""
    turn = _turn(affine)
    order = np.argsort(turn[:, 0])
    after = np.asarray(affine, dtype=float) @ nib.orientations.inv_ornt_aff(turn, shape)
    return tuple(int(shape[axis]) for axis in order), after


def on_axes_of(affine: np.ndarray, label: Any, prepared: Any) -> np.ndarray:
    """``label`` (D, H, W), array or tensor, with the axes of ``affine`` (4, 4) instead of those of ``prepared.affine``.

    The same voxels in another order.
    """
    values = np.asarray(label.cpu() if hasattr(label, "cpu") else label)
    there, here = (nib.io_orientation(np.asarray(a, dtype=float)) for a in (affine, prepared.affine))
    return nib.orientations.apply_orientation(values, nib.orientations.ornt_transform(here, there))


def _turn(affine: np.ndarray) -> np.ndarray:
    wanted = nib.orientations.axcodes2ornt(AXES)
    return nib.orientations.ornt_transform(nib.io_orientation(np.asarray(affine, dtype=float)), wanted)
