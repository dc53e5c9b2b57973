"""Labels on another grid than their image are refused before anything is trained on them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from oarseg.errors import GeometryError
from oarseg.transforms import CheckSameGridd

TILTED = np.array([[0.0, -1.5, 0.1, 4.0], [2.0, 0.0, 0.0, -7.0], [0.0, 0.15, 3.0, 11.0], [0.0, 0.0, 0.0, 1.0]])


def image(shape=(4, 5, 6), affine=TILTED, name="/data/case_7.nii.gz"):
    return MetaTensor(torch.zeros(1, *shape), affine=torch.tensor(affine), meta={"filename_or_obj": name})


def moved(mm):
    affine = TILTED.copy()
    affine[2, 3] += mm
    return affine


def test_one_grid_passes_unchanged():
    data = {"image": image(), "label": image(affine=moved(0.04)), "labelled": ["mandible"]}
    assert CheckSameGridd()(data) == data


@pytest.mark.parametrize(
    "label, message",
    [
        (image((4, 5, 7)), "case_7.nii.gz: labels of 4 x 5 x 7 voxels, but the image has 4 x 5 x 6"),
        (image((6, 5, 4)), "6 x 5 x 4"),
        (image(affine=moved(2.5)), "lie up to 2.50 mm beside the image"),
        (image(affine=TILTED @ np.diag([-1.0, 1, 1, 1])), "beside the image"),
    ],
)
def test_another_grid_is_refused(label, message):
    with pytest.raises(GeometryError, match=message) as error:
        CheckSameGridd()({"image": image(), "label": label})
    assert "/data" not in str(error.value)


def test_keys_come_first_and_the_names_of_0_1_0_still_work():
    data = {"ct": image(), "organs": image(), "dose": image(affine=moved(2.5))}
    assert CheckSameGridd(["ct", "organs"])(data) == CheckSameGridd(image_key="ct", label_key="organs")(data) == data
    with pytest.raises(GeometryError, match="2.50 mm beside"):
        CheckSameGridd(["ct", "organs", "dose"])(data)
