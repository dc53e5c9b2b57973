"""What is refused as no CT, in one line that names the file; and what is let through with a warning."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from oarseg.errors import GeometryError, InputError
from oarseg.geometry.check_ct import check_ct
from oarseg.transforms import CheckCTd


def ct(shape: tuple[int, ...] = (24, 40, 40)) -> np.ndarray:
    """Air, a body of soft tissue, a bone; int16."""
    hu = np.full(shape, -1000, dtype=np.int16)
    hu[2:-2, 8:-8, 8:-8] = 40
    hu[4:8, 12:16, 12:16] = 900
    return hu


AFFINE = np.diag([-3.0, 2.0, 2.0, 1.0])


def test_a_ct_passes_whatever_its_type():
    for dtype in (np.int16, np.int32, np.float32, np.float64):
        assert check_ct(ct().astype(dtype), AFFINE, "a") == []
    assert check_ct(torch.from_numpy(ct()), torch.as_tensor(AFFINE), "a") == []


BAD_VALUES = {
    "NaN": (lambda a: np.where(a == 900, np.nan, a.astype(float)), "NaN"),
    "infinite": (lambda a: np.where(a == 900, np.inf, a.astype(float)), "infinite"),
    "constant": (lambda a: np.full_like(a, -1000), "every voxel is -1000"),
    "MR": (lambda a: (a + 1000) // 2, "air should be near -1000"),
    "scaled": (lambda a: (a + 1000) / 1900, "scaled already"),
    "standardized": (lambda a: (a + 800) / 400, "does not look like CT in HU"),
    "air only": (lambda a: np.minimum(a, -500), "bone should be well above"),
    "no intercept, padded": (lambda a: np.where(a == -1000, -2000, a + 1024), "intercept"),
    "2-D": (lambda a: a[5], "2-D image"),
    "4-D": (lambda a: np.stack([a, a], axis=-1), "4-D image"),
    "one slice": (lambda a: a[5:6], "at least 8"),
    "complex": (lambda a: a.astype(complex), "complex"),
}


@pytest.mark.parametrize("change, told", BAD_VALUES.values(), ids=BAD_VALUES)
def test_what_is_no_ct_is_refused_in_one_line(change, told):
    with pytest.raises(InputError, match=told) as error:
        check_ct(change(ct()), AFFINE, "scan.nii")
    assert str(error.value).startswith("scan.nii: ")
    assert "\n" not in str(error.value)


def test_an_absurd_size_is_refused_before_its_values_are_looked_at():
    huge = np.broadcast_to(np.float32(0), (4000, 4000, 400))
    with pytest.raises(InputError, match="crop the CT"):
        check_ct(huge, AFFINE, "scan.nii")


SHEARED = np.array([[2.0, 0.2, 0, 0], [0, 2, 0, 0], [0, 0, 3, 0], [0, 0, 0, 1]])
BAD_AFFINES = {
    "zero": (np.diag([0.0, 2, 2, 1]), "three positive"),
    "NaN": (np.diag([np.nan, 2, 2, 1]), "NaN"),
    "metres": (np.diag([0.003, 0.002, 0.002, 1]), "in mm"),
    "parallel axes": (np.array([[2.0, 2, 0, 0], [0, 0, 2, 0], [0, 0, 2, 0], [0, 0, 0, 1]]), "right angles"),
    "sheared": (SHEARED, "right angles"),
    "3 x 3": (np.eye(3), "wrong size"),
}


@pytest.mark.parametrize("affine, told", BAD_AFFINES.values(), ids=BAD_AFFINES)
def test_what_is_no_grid_is_refused_in_one_line(affine, told):
    with pytest.raises(GeometryError, match=told) as error:
        check_ct(ct(), affine, "scan.nii")
    assert "scan.nii" in str(error.value) and "\n" not in str(error.value)


def test_an_oblique_grid_in_single_precision_passes():
    a, b = np.cos(0.3), np.sin(0.3)
    turn = np.array([[a, -b, 0], [b, a, 0], [0, 0, 1]]) @ np.array([[1, 0, 0], [0, a, -b], [0, b, a]])
    affine = np.eye(4, dtype=np.float32)
    affine[:3, :3] = turn * [3, 2, 2]
    assert check_ct(ct(), affine, "a") == []


def test_the_unusual_is_told_but_not_refused():
    assert "7 mm apart" in check_ct(ct(), np.diag([7.0, 2, 2, 1]), "a")[0]
    assert "only 24 mm" in check_ct(ct(), np.diag([1.0, 2, 2, 1]), "a")[0]
    metal = ct().astype(np.int32)
    metal[5, 13, 13] = 60000
    assert "odd for HU" in check_ct(metal, AFFINE, "a")[0]
    empty = np.full((24, 40, 40), -1000)
    empty[3, 3, 3] = 3000
    assert "hardly any soft tissue" in check_ct(empty, AFFINE, "a")[0]


def test_the_transform_passes_the_image_on_and_names_the_file():
    hu, affine = torch.from_numpy(ct())[None], torch.as_tensor(AFFINE)
    image = MetaTensor(hu, affine=affine, meta={"filename_or_obj": "x/b.nii"})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert CheckCTd("image")({"image": image, "other": 3})["image"] is image
    image[0, 5, 13, 13] = 32700
    with pytest.warns(UserWarning, match="^b.nii: .*odd"):
        CheckCTd("image")({"image": image})
    two = MetaTensor(torch.zeros(2, 24, 40, 40), affine=torch.as_tensor(AFFINE))
    with pytest.raises(InputError, match="2 channels"):
        CheckCTd("image")({"image": two})


@pytest.mark.parametrize("degrees", [4, 20])
def test_the_transform_warns_of_an_oblique_ct(degrees):
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    affine = np.array([[1, 0, 0, 0], [0, cos, -sin, 0], [0, sin, cos, 0], [0, 0, 0, 1]]) @ AFFINE
    image = MetaTensor(torch.from_numpy(ct())[None], affine=torch.as_tensor(affine))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        CheckCTd("image")({"image": image})
    assert ["20 degrees oblique" in str(w.message) for w in told] == [True] * (degrees > 5)
