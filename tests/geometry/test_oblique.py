"""A CT oblique to the patient: straightened for the networks, painted on its own voxels, told to the user."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from oarseg.errors import GeometryError
from oarseg.geometry import volume as volumes
from oarseg.geometry.affine import obliqueness
from oarseg.geometry.canvas import ObliqueCanvas, placed
from oarseg.geometry.volume import scaled, straight_geometry, straightened, turned, turned_geometry
from oarseg.images.read import CtImage
from oarseg.inference import Pipeline
from oarseg.sites import load_site
from oarseg.transforms import Grid

SITE = load_site()
# Slices towards the feet, rows towards the front, columns towards the left (RAS): feet first and prone at once.
PRONE = np.array([[0, 0, -1.0], [0, 1, 0], [-1, 0, 0]])


def directions(**degrees: float) -> np.ndarray:
    """``PRONE``, turned about axes of RAS one after the other."""
    matrix = PRONE
    for axis, angle in degrees.items():
        matrix = Rotation.from_euler(axis, angle, degrees=True).as_matrix() @ matrix
    return matrix


def affine_of(matrix: np.ndarray, spacing: tuple[float, float, float]) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = matrix * spacing, (11.5, -7.25, 30.0)
    return affine


@pytest.mark.parametrize(
    ("turns", "degrees"), [({}, 0), ({"x": 4}, 4), ({"z": 20}, 20), ({"x": 10, "y": 20}, 22.3), ({"y": 90}, 0)]
)
def test_obliqueness_is_the_largest_angle_to_the_nearest_axis(turns: dict, degrees: float) -> None:
    affine = affine_of(directions(**turns), (3, 1.5, 0.8))
    assert obliqueness(affine) == pytest.approx(degrees, abs=0.05)
    assert len(volumes.oblique_warnings(affine)) == (degrees > volumes.OBLIQUE_DEGREES)


@pytest.mark.parametrize("turns", [{"x": 10}, {"x": 10, "y": -20}, {"z": 44}])
def test_the_straight_grid_holds_every_voxel_and_no_more(turns: dict) -> None:
    affine, size = affine_of(directions(**turns), (3, 1.5, 0.8)), (7, 20, 31)
    shape, axes = straight_geometry(size, affine)
    # Slices towards superior, rows towards posterior, columns towards left.
    spacing = np.linalg.norm(axes[:3, :3], axis=0)
    np.testing.assert_allclose(axes[:3, :3] / spacing, [[0, 0, -1], [0, -1, 0], [1, 0, 0]], atol=1e-12)
    assert spacing.min() >= 0.8 and spacing.max() <= 3
    corners = np.array(np.meshgrid(*([-0.5, n - 0.5] for n in size), indexing="ij")).reshape(3, 8)
    there = np.linalg.inv(axes) @ affine
    index = there[:3, :3] @ corners + there[:3, 3:]
    assert (index.min(axis=1) >= -0.5 - 1e-9).all() and (index.max(axis=1) <= np.array(shape) - 0.5 + 1e-9).all()
    assert (np.ptp(index, axis=1) > np.array(shape) - 1).all()


def test_without_a_turn_the_straight_grid_is_the_turned_one() -> None:
    affine, size = affine_of(PRONE, (3, 1.5, 0.8)), (7, 20, 31)
    (shape, axes), (expected, after) = straight_geometry(size, affine), turned_geometry(size, affine)
    assert shape == expected
    np.testing.assert_allclose(axes, after)
    hu = (np.arange(np.prod(size)).reshape(size) % 1500 - 900).astype(np.int16)
    np.testing.assert_array_equal(straightened(hu, affine)[0].voxels, turned(hu, affine))


def test_straightened_values_are_those_of_the_place() -> None:
    affine, size = affine_of(directions(x=15, y=-10), (2.0, 1.5, 1.0)), (30, 40, 50)
    ras = np.moveaxis(np.indices(size), 0, -1) @ affine[:3, :3].T + affine[:3, 3]
    # Linear in each world axis, with another slope: linear interpolation gives it back, to the rounding of HU.
    hu = np.rint(ras @ [3.0, -5.0, 7.0]).astype(np.int16)
    volume, axes = straightened(hu, affine)
    places = np.moveaxis(np.indices(volume.grid.shape), 0, -1) @ axes[:3, :3].T + axes[:3, 3]
    there = np.linalg.inv(affine)
    index = places @ there[:3, :3].T + there[:3, 3]
    within = ((index >= 0) & (index <= np.array(size) - 1)).all(axis=-1)
    beyond = ((index < -1) | (index > size)).any(axis=-1)
    assert within.sum() * np.prod(volume.grid.spacing) > 0.85 * hu.size * 3
    assert np.abs(volume.voxels - places @ [3.0, -5.0, 7.0])[within].max() <= 1.01
    assert beyond.any() and (volume.voxels[beyond] == volumes.LOW_HU).all(), "air beyond the CT"
    np.testing.assert_allclose(volume.on(volume.grid)[0, 0], scaled(volume.voxels), atol=1e-6)


def test_a_straight_grid_that_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(volumes, "MAX_VOXELS", 1000)
    with pytest.raises(GeometryError, match=r"45 degrees oblique.* voxels, more than 1,000; crop"):
        straightened(np.zeros((10, 10, 10), np.int16), affine_of(directions(x=45), (1, 1, 1)))


@pytest.mark.parametrize("turns", [{}, {"x": 25, "z": -40}])
def test_exactly_the_voxels_whose_centres_are_likely_are_painted(turns: dict) -> None:
    affine, size = affine_of(directions(**turns), (2.0, 1.5, 0.8)), (20, 22, 31)
    _, axes = straight_geometry(size, affine)
    source = Grid((6.0, 5.0, 4.0), (1.5, 1.0, 0.75), (12, 16, 20))
    # A plane across the source, oblique to everything: linear interpolation is exact.
    slope, level = np.array([0.03, -0.02, 0.05]), 0.25
    centres = np.stack(np.meshgrid(*(source.centres(a) for a in range(3)), indexing="ij"), axis=-1)
    label = np.zeros(size, np.uint8)
    gained = ObliqueCanvas(label, affine, axes).paint(5, (centres @ slope + level).astype(np.float32), source)
    there = np.linalg.inv(axes) @ affine
    index = np.moveaxis(np.indices(size), 0, -1) @ there[:3, :3].T + there[:3, 3]
    mm = (index + 0.5) * np.linalg.norm(axes[:3, :3], axis=0)
    low, high = centres[0, 0, 0], centres[-1, -1, -1]
    within = ((mm >= low - 1e-9) & (mm <= high + 1e-9)).all(axis=-1)
    # Not asked: the source's outermost half voxels, where it fades out, and what rounding decides.
    rim = ((mm > low - source.spacing) & (mm < high + source.spacing)).all(axis=-1) & ~within
    sure = (np.abs(mm @ slope + level - 0.5) > 1e-3) & ~rim
    expected = within & (mm @ slope + level >= 0.5)
    assert 0 < expected.sum() < within.sum() and gained == label.astype(bool).sum()
    np.testing.assert_array_equal((label == 5)[sure], expected[sure])


def test_what_lies_beyond_the_canvas_is_not_painted() -> None:
    affine = affine_of(directions(z=20), (2.0, 1.5, 0.8))
    label = np.zeros((10, 12, 14), np.uint8)
    canvas = ObliqueCanvas(label, affine, straight_geometry(label.shape, affine)[1])
    far = Grid((900.0, 900.0, 900.0), (1.0, 1.0, 1.0), (4, 4, 4))
    assert canvas.paint(1, np.ones(far.shape, np.float32), far) == 0
    around = Grid((-50.0, -50.0, -50.0), (1.0, 1.0, 1.0), (140, 140, 140))
    assert canvas.paint(2, np.ones(around.shape, np.float32), around) == label.size
    assert canvas.paint(3, np.full(around.shape, 0.9, np.float32), around) == 0, "the likelier one stays"


def test_up_to_the_limit_nothing_is_copied() -> None:
    hu, label = np.zeros((8, 9, 10), np.int16), np.zeros((8, 9, 10), np.uint8)
    affine = affine_of(directions(x=4.9), (3, 1.5, 0.8))
    volume, canvas, axes = placed(hu, affine, label)
    assert np.shares_memory(volume.voxels, hu) and np.shares_memory(canvas.label, label)
    np.testing.assert_allclose(axes, turned_geometry(hu.shape, affine)[1])
    volume, canvas, axes = placed(hu, affine_of(directions(x=5.1), (3, 1.5, 0.8)), label)
    assert not np.shares_memory(volume.voxels, hu) and canvas.label is label and obliqueness(axes) == 0


def test_organs_of_an_oblique_ct_lie_on_its_own_voxels(pipeline: Pipeline, phantom) -> None:
    shape = (64, 72, 68)
    affine = phantom.centred_affine(directions(x=20, y=15) * 3.0, shape)
    hu, truth = phantom.draw(shape, affine)
    found = pipeline.segment(CtImage(hu, affine, "NIfTI"))
    assert found.missing == {} and found.label.shape == shape
    np.testing.assert_array_equal(found.affine, affine)
    (warning,) = [w for w in found.warnings if "oblique" in w]
    assert "25 degrees" in warning and "resampled" in warning
    for key, value in SITE.values.items():
        assert phantom.dice(found.label == value, truth == value) > 0.93, key
        low, high = found.boxes[key]
        where = np.argwhere(truth == value) @ affine[:3, :3].T + affine[:3, 3]
        assert (low <= where.min(axis=0)).all() and (where.max(axis=0) <= high).all()
    assert phantom.dice(pipeline.stage_one(CtImage(hu, affine, "NIfTI")) > 0, truth > 0) > 0.9
