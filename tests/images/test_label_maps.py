"""Label maps from files: the same voxels compare equal however they are stored, other voxels never do."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from oarseg.errors import GeometryError, InputError
from oarseg.geometry.label_map import LabelMap
from oarseg.images.label_maps import check_same_grid, read_label_map


def test_another_order_of_the_axes_is_the_same_grid(scan, save_map, tmp_path):
    label, affine = scan
    a = read_label_map(save_map(tmp_path / "a.nii.gz", label, affine))
    flipped = affine.copy()
    flipped[:3, 3] += flipped[:3, 1] * (label.shape[1] - 1)
    flipped[:3, 1] *= -1
    b = read_label_map(
        save_map(tmp_path / "b.nii", label[:, ::-1].transpose(2, 1, 0).astype(np.int32), flipped[:, [2, 1, 0, 3]])
    )
    check_same_grid(a, b, "case")
    assert np.array_equal(a.label, b.label) and nib.aff2axcodes(a.affine) == ("R", "A", "S")
    stored = read_label_map(tmp_path / "a.nii.gz", turn=False)
    assert np.array_equal(stored.label, label) and np.allclose(stored.affine, affine, atol=1e-4)


def test_other_grids_are_refused_with_the_distance(scan):
    label, affine = scan
    there = LabelMap(label, affine)
    near, far, larger = affine.copy(), affine.copy(), affine.copy()
    near[0, 3] += 0.02
    far[1, 3] += 0.7
    larger[:3, :3] *= 1.01
    check_same_grid(there, LabelMap(label, near), "case")
    with pytest.raises(GeometryError, match=r"case: .* up to 0.70 mm apart"):
        check_same_grid(there, LabelMap(label, far), "case")
    with pytest.raises(GeometryError, match="apart"):
        check_same_grid(there, LabelMap(label, larger), "case")
    with pytest.raises(GeometryError, match="44 x 60 x 64 voxels, the reference 43 x 60 x 64"):
        check_same_grid(there, LabelMap(label[1:], affine), "case")


def test_floating_point_files_hold_whole_numbers_or_are_refused(scan, save_map, tmp_path):
    label, affine = scan
    found = read_label_map(save_map(tmp_path / "f.nii", label.astype(np.float32), affine), turn=False)
    assert found.label.dtype.kind == "i" and np.array_equal(found.label, label)
    for value in (0.5, np.nan, np.inf):
        odd = label.astype(np.float32)
        odd[3, 3, 3] = value
        with pytest.raises(InputError, match="odd.nii: voxels are not whole numbers"):
            read_label_map(save_map(tmp_path / "odd.nii", odd, affine))


def test_bad_files(scan, save_map, tmp_path):
    label, affine = scan
    with pytest.raises(InputError, match="does not exist"):
        read_label_map(tmp_path / "none.nii.gz")
    (tmp_path / "text.nii.gz").write_text("no NIfTI")
    with pytest.raises(InputError, match="text.nii.gz cannot be read"):
        read_label_map(tmp_path / "text.nii.gz")
    whole = save_map(tmp_path / "cut.nii.gz", label, affine).read_bytes()
    (tmp_path / "cut.nii.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="cut.nii.gz cannot be read"):
        read_label_map(tmp_path / "cut.nii.gz")
    with pytest.raises(InputError, match="4-D"):
        read_label_map(save_map(tmp_path / "four.nii", np.stack([label, label], -1), affine))
    with pytest.raises(InputError, match="more than"):
        huge = nib.Nifti1Image(np.zeros((8, 8, 8), np.uint8), affine).header
        huge.set_data_shape((4000, 4000, 4000))
        with open(tmp_path / "huge.nii", "wb") as file:
            huge.write_to(file)
        read_label_map(tmp_path / "huge.nii")
