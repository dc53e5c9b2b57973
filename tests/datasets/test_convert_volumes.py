"""Masks on their image's voxels without resampling, and several of them in one label map."""

from __future__ import annotations

import nibabel as nib
import nrrd
import numpy as np
import pytest

from oarseg.datasets.convert.labels import merged
from oarseg.datasets.convert.volumes import MaskFile, fitted, load_files, read_labels
from oarseg.errors import GeometryError, InputError
from oarseg.sites import load_site

SITE = load_site()
SHAPE = (9, 10, 12)
AFFINE = np.array([[0, -2.0, 0, 30], [0, 0, 3.0, -40], [1.5, 0, 0, 7], [0, 0, 0, 1]])


@pytest.fixture
def mask() -> np.ndarray:
    """Nothing symmetrical about it."""
    mask = np.zeros(SHAPE, dtype=bool)
    mask[2:4, 3:8, 5:6] = mask[2, 3, 5:10] = True
    return mask


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 0, 2), (2, 1, 0)])
@pytest.mark.parametrize("flips", [(), (0,), (1, 2), (0, 1, 2)])
@pytest.mark.parametrize("cropped", [False, True])
def test_other_orders_directions_and_crops_are_undone(mask, axes, flips, cropped):
    stored, affine = mask, AFFINE
    if cropped:
        stored, shift = mask[1:6, 3:, 4:11], np.array([1, 3, 4])
        affine = AFFINE.copy()
        affine[:3, 3] += AFFINE[:3, :3] @ shift
    order = np.array([[a, 1] for a in axes])
    order[list(flips), 1] = -1
    affine = affine @ nib.orientations.inv_ornt_aff(np.array([[axes.index(a), 1] for a in range(3)]), stored.shape)
    stored = stored.transpose(axes)
    for axis in flips:
        stored = np.flip(stored, axis)
        affine = affine.copy()
        affine[:3, 3] += affine[:3, axis] * (stored.shape[axis] - 1)
        affine[:3, axis] *= -1
    assert np.array_equal(fitted(stored, affine, SHAPE, AFFINE, "m"), mask)


def moved(mm: float = 0, scale: float = 1, turn: float = 0) -> np.ndarray:
    affine = AFFINE.copy()
    affine[:3, :3] *= scale
    affine[0, 3] += mm
    c, s = np.cos(turn), np.sin(turn)
    return np.array([[c, -s, 0, 0], [s, c, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]) @ affine


@pytest.mark.parametrize(
    "affine",
    [moved(1), moved(0.1), moved(2), moved(-40), moved(scale=1.02), moved(scale=2), moved(turn=0.02), moved(turn=0.8)],
)  # fmt: skip
def test_another_grid_is_refused(mask, affine):
    with pytest.raises(GeometryError, match="m.nii: 9 x 10 x 12 voxels .* another grid than the image's"):
        fitted(mask, affine, SHAPE, AFFINE, "m.nii")


def test_single_precision_is_no_other_grid(mask):
    assert np.array_equal(fitted(mask, moved(0.01), SHAPE, AFFINE, "m"), mask)


def test_what_is_no_mask(tmp_path, mask):
    nib.save(nib.Nifti1Image(mask.astype(np.float32) * 0.5, AFFINE), tmp_path / "half.nii.gz")
    with pytest.raises(InputError, match="not whole numbers"):
        read_labels(tmp_path / "half.nii.gz")
    header = {"space directions": np.eye(3), "space origin": np.zeros(3)}
    nrrd.write(str(tmp_path / "half.nrrd"), mask * 0.5, header | {"space": "left-posterior-superior"})
    with pytest.raises(InputError, match="not whole numbers"):
        read_labels(tmp_path / "half.nrrd")
    nrrd.write(str(tmp_path / "space.nrrd"), mask.astype(np.uint8), header | {"space": "scanner-xyz"})
    with pytest.raises(GeometryError, match="space.nrrd: .*scanner-xyz.*left and right"):
        read_labels(tmp_path / "space.nrrd")
    whole = (tmp_path / "space.nrrd").read_bytes()
    (tmp_path / "cut.nrrd").write_bytes(whole.replace(b"scanner-xyz", b"left-posterior-superior")[:-20])
    with pytest.raises(InputError, match="cannot be read as NRRD"):
        read_labels(tmp_path / "cut.nrrd")
    (tmp_path / "mask.mha").write_text("ObjectType = Image")
    with pytest.raises(InputError, match="no mask that can be read"):
        read_labels(tmp_path / "mask.mha")


def test_right_anterior_superior_nrrd(tmp_path, mask):
    nrrd.write(
        str(tmp_path / "m.nrrd"), mask.astype(np.uint8),
        {"space": "right-anterior-superior", "space directions": AFFINE[:3, :3].T, "space origin": AFFINE[:3, 3]},
    )  # fmt: skip
    read = read_labels(tmp_path / "m.nrrd")
    assert np.allclose(read.affine, AFFINE) and np.array_equal(read.label, mask)


def test_a_label_map_is_no_mask_of_one_organ(tmp_path, phantom):
    affine = phantom.lps_affine((6, 6, 6), (32, 32, 28))
    hu, label = phantom.draw((32, 32, 28), affine)
    for name, array in (("ct", hu), ("all", label), ("one", (label == 7) * np.uint8(255))):
        nib.save(nib.Nifti1Image(array, affine), tmp_path / f"{name}.nii.gz")
    with pytest.raises(InputError, match="the values 1, 2, 3, 4, 5; expected the mask of one organ"):
        list(load_files(tmp_path / "ct.nii.gz", {"brainstem": (MaskFile(tmp_path / "all.nii.gz"),)}).masks)
    loaded = load_files(tmp_path / "ct.nii.gz", {"parotid_left": (MaskFile(tmp_path / "one.nii.gz"),)})
    assert np.array_equal(next(iter(loaded.masks))[1], label == 7)


def boxes(**organs: tuple[slice, slice, slice]) -> list[tuple[str, np.ndarray]]:
    found = []
    for key, box in organs.items():
        found.append((key, np.zeros((20, 20, 20), dtype=bool)))
        found[-1][1][box] = True
    return found


def test_the_smaller_organ_has_the_overlap_whatever_the_order():
    masks = boxes(
        mandible=np.s_[0:10, 0:10, 0:10], parotid_left=np.s_[8:13, 0:5, 0:5], optic_nerve_left=np.s_[9:10, 4:5, 0:6],
        brainstem=np.s_[5:5, 0:1, 0:1],
    )  # fmt: skip
    for order in (masks, masks[::-1]):
        labels = merged(order, (20, 20, 20), np.diag([-1.0, -1, 1, 1]), SITE)
        assert labels.organs == ("mandible", "optic_nerve_left", "parotid_left") and labels.empty == ("brainstem",)
        assert [int((labels.label == SITE.values[k]).sum()) for k in labels.organs] == [1000 - 50 - 1, 6, 125 - 5]
        # 50 of parotid and mandible; of the nerve's 6, 5 from the parotid and 1 from the mandible.
        assert labels.overlap_voxels == 50 + 6


def test_an_organ_under_others_and_none_at_all():
    same = np.s_[0:4, 0:4, 0:4]
    with pytest.raises(InputError, match="brainstem: wholly covered"):
        merged(boxes(brainstem=same, mandible=same), (20, 20, 20), np.eye(4), SITE)
    with pytest.raises(InputError, match="no organ of the table has a voxel"):
        merged(boxes(brainstem=np.s_[0:0, 0:0, 0:0]), (20, 20, 20), np.eye(4), SITE)


@pytest.mark.parametrize("to_left", [1.0, -1.0])
def test_exchanged_sides_are_refused_by_where_they_lie_in_the_patient(to_left):
    # Index 1 counts to the patient's left, or to the right.
    affine = np.array([[0, -to_left, 0, 0], [0, 0, 1.0, 0], [1.0, 0, 0, 0], [0, 0, 0, 1]])
    masks = boxes(parotid_left=np.s_[0:4, 12:16, 0:4], parotid_right=np.s_[0:4, 2:5, 0:4])
    if to_left > 0:
        assert merged(masks, (20, 20, 20), affine, SITE).organs == ("parotid_left", "parotid_right")
    else:
        with pytest.raises(GeometryError, match="parotid_left lies 10 mm to the right of parotid_right"):
            merged(masks, (20, 20, 20), affine, SITE)
