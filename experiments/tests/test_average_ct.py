"""The average CT on phantoms whose true place is known: shifted, scaled, stored in two orientations."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest

from experiments.population_ct.io import load_case, load_rows, seen_slices
from experiments.population_ct.run import Grid, average_cases, clear_outside, main, make_average, robust_mean, write
from oarseg.errors import ConfigError, InputError
from oarseg.sites.table import load_site

VALUES = load_site().values
# LPS mm of the eight organs in a head without tilt; the left parotid lies lower and bears the only bone.
PLACES = {
    "brainstem": (0, 40, 0),
    "eye_left": (30, -40, 25),
    "eye_right": (-30, -40, 25),
    "mandible": (0, -20, -50),
    "optic_nerve_left": (20, -10, 25),
    "optic_nerve_right": (-20, -10, 25),
    "parotid_left": (55, 20, -45),
    "parotid_right": (-55, 20, -35),
}
GRID = Grid((40, 40, 30), (6.0, 6.0, 6.0), (-117.0, -117.0, -87.0))
SPACING = np.array([4.0, 4.0, 5.0])


def save_phantom(root: Path, name: str, scale: np.ndarray, shift: np.ndarray, flip: bool) -> dict:
    """Write a phantom whose anatomy is ``scale`` x place + ``shift`` (LPS mm), stored towards LPS or (flip) RAS."""
    shape = np.array([64, 64, 44])
    lps = np.diag([*SPACING, 1.0])
    lps[:3, 3] = shift - SPACING * (shape - 1) / 2
    index = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), -1)
    place = (index * SPACING + lps[:3, 3] - shift) / scale
    inside = np.linalg.norm(place / (90, 90, 80), axis=-1) < 1
    image = np.where(inside, 0, -1000).astype(np.int16)
    labels = np.zeros(shape, np.uint8)
    for key, at in PLACES.items():
        blob = np.linalg.norm(place - at, axis=-1) < 12
        labels[blob] = VALUES[key]
        image[blob] = 900 if key == "parotid_left" else 150
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ lps
    if flip:
        image, labels = image[::-1, ::-1], labels[::-1, ::-1]
        affine = affine @ np.array([[-1, 0, 0, shape[0] - 1], [0, -1, 0, shape[1] - 1], [0, 0, 1, 0], [0, 0, 0, 1]])
    row = {"image": f"{name}_image.nii", "label": f"{name}_label.nii"}
    nib.save(nib.Nifti1Image(image, affine), root / row["image"])
    nib.save(nib.Nifti1Image(labels, affine), root / row["label"])
    return row


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("phantoms")
    rows = [
        save_phantom(root, "a", np.array([1.0, 1.0, 1.0]), np.array([300.0, -40.0, 900.0]), False),
        save_phantom(root, "b", np.array([0.9, 1.1, 1.0]), np.array([-80.0, 20.0, -50.0]), True),
        save_phantom(root, "c", np.array([1.1, 0.9, 1.0]), np.array([5.0, 200.0, 10.0]), True),
    ]
    (root / "dataset.json").write_text(json.dumps({"training": rows}))
    return root


def load_all(root: Path) -> list:
    return [load_case(root, row, list(VALUES.values())) for row in load_rows(root)]


@pytest.mark.parametrize("rounds", [(), ((3, 0), (2, 2))])
def test_organs_come_to_the_mean_place_and_left_stays_left(dataset: Path, tmp_path: Path, rounds: tuple) -> None:
    average = make_average(load_all(dataset), VALUES, GRID, least=2, rounds=rounds)
    middle = np.mean(list(PLACES.values()), axis=0)
    for key, place in PLACES.items():
        assert average.organs[key]["centroid_lps_mm"] == pytest.approx(list(place - middle), abs=3.0), key
        assert average.organs[key]["volume_ml"] == pytest.approx(average.organs[key]["own_volume_ml"], rel=0.25), key
    write(average, tmp_path)
    write(average, tmp_path)  # a second run replaces the first
    slices = [pydicom.dcmread(path) for path in sorted((tmp_path / "ct").glob("*.dcm"))]
    assert len(slices) == average.hu.shape[2]
    pixels = np.stack([s.pixel_array.T * s.RescaleSlope + s.RescaleIntercept for s in slices], 2)
    assert np.array_equal(pixels, average.hu)
    x, y, z = np.array(np.nonzero(pixels > 500)).mean(1)
    first = slices[0]
    found = np.array(first.ImagePositionPatient) + (
        x * first.PixelSpacing[1],
        y * first.PixelSpacing[0],
        z * (slices[1].ImagePositionPatient[2] - first.ImagePositionPatient[2]),
    )
    assert found == pytest.approx(PLACES["parotid_left"] - middle, abs=4.0)
    assert len({s.SOPInstanceUID for s in slices}) == len(slices)
    assert json.loads((tmp_path / "expected.json").read_text())["cases"] == 3


def test_deformation_sharpens(dataset: Path) -> None:
    slopes = []
    for rounds in ((), ((10, 0), (10, 5))):
        cases = load_all(dataset)
        # Move one image but not its labels: what the centroids cannot put right, the intensities can.
        cases[0].image = np.roll(cases[0].image, 2, axis=1)
        make_average(cases, VALUES, GRID, least=2, rounds=rounds)
        hu, _ = average_cases(cases, GRID, 2)
        slopes.append(np.linalg.norm(np.gradient(hu.astype(float)), axis=0)[hu > -500].mean())
    assert slopes[1] > slopes[0]


def test_a_voxel_needs_enough_patients() -> None:
    stack = np.array([0, 10, 20, 3000], np.int16).reshape(4, 1, 1, 1).repeat(2, 3)
    valid = np.ones(stack.shape, bool)
    valid[:2, ..., 1] = False
    hu, count = robust_mean(stack, valid, 3)
    assert hu.ravel().tolist() == [10, -1000]
    assert count.ravel().tolist() == [4, 2]


def test_slices_at_a_cut_are_not_trusted() -> None:
    image = np.full((20, 20, 12), -1000, np.int16)
    image[2:18, 2:18, 1:11] = 0
    assert seen_slices(image, np.diag([5.0, 5.0, 3.0, 1.0])) == (3, 8)
    image[:, :, 10] = -1000
    image[9:12, 9:12, 10] = 0
    assert seen_slices(image, np.diag([5.0, 5.0, 3.0, 1.0])) == (3, np.inf)
    with pytest.raises(InputError, match="no tissue"):
        seen_slices(np.full((4, 4, 4), -1000, np.int16), np.eye(4))


def test_couch_is_cleared() -> None:
    hu = np.full((20, 20, 5), -1000, np.int16)
    hu[5:12, 5:12] = 0
    hu[2:18, 18] = -200
    cleared = clear_outside(hu)
    assert (cleared[:, 18] == -1000).all()
    assert (cleared[5:12, 5:12] == 0).all()


def test_too_few_or_no_cases(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at least 20 cases.*3 were found"):
        main([str(dataset), str(tmp_path / "out")])
    with pytest.raises(InputError, match="dataset.json"):
        main([str(tmp_path), str(tmp_path / "out")])
    (tmp_path / "dataset.json").write_text('{"training": [{"image": "gone.nii", "label": "gone.nii"}]}')
    with pytest.raises(InputError, match="gone.nii"):
        main([str(tmp_path), str(tmp_path / "out")])
