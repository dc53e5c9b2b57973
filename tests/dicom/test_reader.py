from __future__ import annotations

import nibabel
import numpy as np
import pytest
import torch
from monai.transforms import Compose, Invertd, LoadImaged, Orientationd, Spacingd

from oarseg.dicom.reader import CtSeriesReader
from oarseg.errors import GeometryError, InputError

CUBE = {"shape": (20, 20, 20), "spacing": (2.5, 2.5, 2.5)}


def load(folder, **kwargs):
    return LoadImaged(keys="image", reader=CtSeriesReader, **kwargs)({"image": str(folder)})["image"]


def test_gives_a_metatensor_with_the_affine(ct, tmp_path):
    image = load(ct("FFS").write(tmp_path))
    index = torch.argwhere(image > 800).double().mean(0)
    ras = (image.affine @ torch.tensor([*index, 1.0], dtype=image.affine.dtype))[:3]
    assert tuple(image.shape) == (16, 28, 24) == tuple(image.meta["spatial_shape"])
    assert image.meta["space"] == "RAS"
    assert np.allclose(image.meta["original_affine"], image.affine)
    assert np.allclose(ras, ct.MARKER * [-1, -1, 1], atol=0.8)


@pytest.mark.parametrize("orientation", ["HFP", "FFS", "FFP", "HFDR", "HFDL", "sagittal", "coronal"])
def test_any_orientation_becomes_the_same_volume(ct, tmp_path, orientation):
    steps = [LoadImaged("image", reader=CtSeriesReader, ensure_channel_first=True), Orientationd("image", "SPL")]
    chain = Compose(steps)
    expected = chain({"image": str(ct("HFS", **CUBE).write(tmp_path / "a"))})["image"]
    found = chain({"image": str(ct(orientation, **CUBE).write(tmp_path / "b"))})["image"]
    # Voxel centres at the rim of a ball may fall on either side.
    assert (found != expected).float().mean() < 1e-3
    assert np.allclose(found.affine, expected.affine, atol=1e-3)


@pytest.mark.parametrize("orientation", ["HFS", "FFP", "oblique"])
def test_transforms_are_inverted_onto_the_original_grid(ct, tmp_path, orientation):
    chain = Compose(
        [
            LoadImaged("image", reader=CtSeriesReader, ensure_channel_first=True),
            Orientationd("image", "SPL"),
            Spacingd("image", (2.0, 2.0, 2.0)),
        ]
    )
    folder = ct(orientation).write(tmp_path)
    data = chain({"image": str(folder)})
    data["pred"] = (data["image"] > 700).float()
    back = Invertd("pred", chain, orig_keys="image", nearest_interp=True)(data)["pred"]
    original = load(folder)
    assert tuple(back.shape[1:]) == tuple(original.shape)
    found = np.argwhere(back[0].numpy() > 0).mean(axis=0)
    assert np.allclose(found, np.argwhere(original.numpy() > 700).mean(axis=0), atol=0.6)


def test_series_is_chosen(ct, tmp_path):
    small = {"shape": (4, 8, 8)}
    ct(number=1, **small).write(tmp_path / "a")
    wanted = ct(number=2, **small)
    wanted.write(tmp_path / "b")
    reader = CtSeriesReader(series="2")
    LoadImaged("image", reader=reader)({"image": str(tmp_path)})
    assert reader.grid.series_uid == wanted.slices[0].SeriesInstanceUID


def test_refused_series_is_not_read_by_another_reader(edited):
    with pytest.raises(GeometryError, match="gaps"):
        load(edited(lambda s: s.pop(4)))


def test_missing_folder_and_single_file(ct, tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        load(tmp_path / "no")
    folder = ct().write(tmp_path)
    with pytest.raises(InputError, match="is a file; give the folder"):
        load(next(folder.iterdir()))


def test_nifti_goes_to_its_own_reader(tmp_path):
    nibabel.save(nibabel.Nifti1Image(np.ones((3, 4, 5), np.int16), np.eye(4)), tmp_path / "x.nii.gz")
    assert tuple(load(tmp_path / "x.nii.gz").shape) == (3, 4, 5)


def test_int16_is_not_copied_by_the_reader(ct, tmp_path):
    reader = CtSeriesReader()
    read = reader.read(ct().write(tmp_path))
    array, _ = reader.get_data(read)
    assert array is read.hu and not hasattr(reader.grid, "hu")
    assert reader.verify_suffix(tmp_path) and not reader.verify_suffix([tmp_path, tmp_path])
