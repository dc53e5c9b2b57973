"""An empty path is not the current folder."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from monai.transforms import LoadImaged

from oarseg.errors import InputError
from oarseg.transforms import LoadCTd


def test_refuses_an_empty_path() -> None:
    with pytest.raises(InputError, match="no image: its path is empty"):
        LoadCTd(keys="image")({"image": ""})


def test_loads_what_is_named(tmp_path: Path) -> None:
    path = tmp_path / "ct.nii.gz"
    nib.save(nib.Nifti1Image(np.arange(24, dtype=np.int16).reshape(2, 3, 4), np.diag([-2, 3, 4, 1])), path)
    for given in (path, str(path)):
        found, expected = (load(keys="image")({"image": given})["image"] for load in (LoadCTd, LoadImaged))
        assert np.array_equal(found, expected)
        assert np.array_equal(found.affine, expected.affine)
