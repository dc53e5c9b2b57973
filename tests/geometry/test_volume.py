"""A CT turned and scaled without copying it."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Orientation, ScaleIntensityRange

from experiments.ablation.predict import on_axes_of
from oarseg.geometry.volume import AXES, hu_volume, scaled, turned, turned_geometry
from oarseg.transforms import Grid

OBLIQUE = np.array([[-2.96, 0.3, 0], [-0.3, -2.985, 0], [0, 0, 2.0]])
DIRECTIONS = {
    "SPL": np.array([[0, 0, -3.0], [0, -2.5, 0], [2.0, 0, 0]]),
    "LPS": np.diag([-3.0, -2.5, 2]),
    "RAS": np.diag([3.0, 2.5, 2]),
    "PIR": np.array([[0, 0, 3.0], [-2.5, 0, 0], [0, -2.0, 0]]),
    "oblique": OBLIQUE,
}


def image(direction: str) -> tuple[np.ndarray, np.ndarray]:
    """HU (5, 6, 7), every voxel another one, and an affine."""
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = DIRECTIONS[direction], (10, -20, 30)
    return (np.arange(210, dtype=np.int16).reshape(5, 6, 7) * 9 - 1000), affine


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_turning_is_monais_orientation(direction: str) -> None:
    hu, affine = image(direction)
    expected = Orientation(axcodes="SPL", labels=None)(MetaTensor(torch.from_numpy(hu)[None], affine=affine))
    found = turned(hu, affine)
    np.testing.assert_array_equal(found, expected.as_tensor()[0].numpy())
    shape, after = turned_geometry(hu.shape, affine)
    assert shape == found.shape and "".join(nib.aff2axcodes(after)) == "".join(AXES)
    np.testing.assert_allclose(after, expected.affine)
    np.testing.assert_array_equal(on_axes_of(affine, found, after), hu)
    np.testing.assert_array_equal(on_axes_of(affine, torch.from_numpy(found.copy()), expected.affine), hu)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_what_is_painted_on_the_turned_view_lands_in_the_image(direction: str) -> None:
    label, affine = np.zeros((5, 6, 7), np.uint8), image(direction)[1]
    view, (_, after) = turned(label, affine), turned_geometry(label.shape, affine)
    view[1, 2, 3] = 8
    np.testing.assert_allclose(affine @ [*np.argwhere(label)[0], 1], after @ [1, 2, 3, 1])


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.float32])
def test_scaling_is_that_of_the_bundles(dtype: type) -> None:
    hu = np.array([[-32768, -1001, -1000, -999, 0, 37, 599, 600, 601, 32767]]).astype(dtype)
    scale = ScaleIntensityRange(a_min=-1000, a_max=600, b_min=0, b_max=1, clip=True)
    assert scaled(hu).dtype == np.float32
    # As the bundles read: MONAI's scaling of int16 itself overflows.
    np.testing.assert_allclose(scaled(hu), scale(torch.from_numpy(hu).float()), atol=1e-6)


def test_a_volume_is_scaled_where_it_is_looked_at() -> None:
    hu, affine = image("LPS")
    volume = hu_volume(hu, affine)
    assert np.shares_memory(volume.voxels, hu) and volume.grid == Grid((0.0,) * 3, (2.0, 2.5, 3.0), (7, 6, 5))
    found = volume.on(volume.grid)
    assert found.shape == (1, 1, 7, 6, 5) and found.dtype == np.float32
    np.testing.assert_allclose(found[0, 0], scaled(turned(hu, affine)), atol=1e-6)
    beyond = volume.on(Grid((-20.0, 0.0, 0.0), (2.0, 2.5, 3.0), (3, 6, 5)))
    assert not beyond.any(), "beyond the CT there is air"
