"""Resampling between grids: values, edges, and where a voxel lies in the world."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from oarseg.transforms import Grid, grid_affine, image_grid, resample

SOURCE = Grid((0.0, 0.0, 0.0), (3.0, 2.0, 2.5), (12, 14, 10))
COEFFICIENTS = (0.5, -0.25, 0.125)


def linear(grid: Grid) -> torch.Tensor:
    """A linear function of the millimetres at the voxel centres of ``grid``."""
    axes = [c * grid.centres(axis) for axis, c in enumerate(COEFFICIENTS)]
    values = 3 + axes[0][:, None, None] + axes[1][None, :, None] + axes[2][None, None]
    return torch.as_tensor(values, dtype=torch.float32)[None]


@pytest.mark.parametrize(
    "target",
    [
        Grid((6.0, 5.0, 4.0), (1.0, 0.7, 1.3), (20, 21, 9)),
        Grid((4.5, 3.3, 5.1), (3.0, 2.0, 2.5), (7, 8, 5)),
        Grid((3.0, 2.0, 2.5), (6.0, 4.0, 5.0), (5, 6, 4)),
        Grid((3.0, 4.0, 5.0), (6.0, 1.0, 2.5), (4, 15, 6)),
    ],
    ids=["finer", "shifted", "twice as coarse", "mixed"],
)
def test_a_linear_function_is_kept(target: Grid) -> None:
    torch.testing.assert_close(resample(linear(SOURCE), SOURCE, target), linear(target), rtol=0, atol=1e-4)


def test_same_grid_is_the_same_volume() -> None:
    volume = torch.rand(2, *SOURCE.shape)
    torch.testing.assert_close(resample(volume, SOURCE, SOURCE), volume)
    labels = torch.randint(0, 9, (1, *SOURCE.shape), dtype=torch.uint8)
    assert torch.equal(resample(labels, SOURCE, SOURCE, "nearest"), labels)


def test_nearest_takes_the_voxel_that_holds_the_point() -> None:
    labels = torch.arange(2 * 3 * 2, dtype=torch.uint8).view(1, 2, 3, 2)
    source = Grid((0.0, 0.0, 0.0), (2.0, 2.0, 2.0), (2, 3, 2))
    twice = resample(labels, source, Grid((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (4, 6, 4)), "nearest")
    assert twice.dtype == torch.uint8
    expected = labels.repeat_interleave(2, 1).repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert torch.equal(twice, expected)
    assert torch.equal(resample(twice, Grid((0.0,) * 3, (1.0,) * 3, (4, 6, 4)), source, "nearest"), labels)


@pytest.mark.parametrize("mode", ["linear", "nearest"])
def test_outside_is_zero_and_the_border_voxel_is_whole(mode: str) -> None:
    source = Grid((0.0, 0.0, 0.0), (2.0, 2.0, 2.0), (3, 3, 3))
    target = Grid((-2.0, -2.0, -2.0), (1.0, 1.0, 1.0), (10, 10, 10))
    found = resample(torch.ones(1, 3, 3, 3), source, target, mode)
    expected = torch.zeros(1, 10, 10, 10)
    expected[:, 2:8, 2:8, 2:8] = 1
    assert torch.equal(found, expected)


def test_far_away_is_all_zero() -> None:
    for mode in ("linear", "nearest"):
        found = resample(torch.ones(1, 3, 3, 3), Grid((0.0,) * 3, (1.0,) * 3, (3, 3, 3)),
                         Grid((50.0, 0.0, 0.0), (1.0,) * 3, (4, 5, 6)), mode)  # fmt: skip
        assert found.shape == (1, 4, 5, 6)
        assert not found.any()


def test_coarser_averages_instead_of_skipping() -> None:
    source = Grid((0.0,) * 3, (1.0,) * 3, (8, 8, 8))
    board = (torch.arange(8).view(8, 1, 1) + torch.arange(8).view(1, 8, 1) + torch.arange(8)).remainder(2).float()[None]
    half = resample(board, source, Grid((0.0,) * 3, (2.0,) * 3, (4, 4, 4)))
    torch.testing.assert_close(half, torch.full((1, 4, 4, 4), 0.5))
    volume = torch.rand(1, 8, 8, 8)
    quarter = resample(volume, source, Grid((0.0,) * 3, (4.0,) * 3, (2, 2, 2)))
    torch.testing.assert_close(quarter, torch.nn.functional.avg_pool3d(volume, 4))


def test_coarser_with_an_incomplete_last_block() -> None:
    source = Grid((0.0,) * 3, (1.0,) * 3, (7, 7, 7))
    found = resample(torch.ones(1, 7, 7, 7), source, Grid((0.0,) * 3, (3.0,) * 3, (3, 3, 3)))
    # The last centre, 7.5 mm, is beyond the volume; all others are bright, none dimmed by padding.
    assert torch.equal(found[0, :2, :2, :2], torch.ones(2, 2, 2))


def test_a_crop_resamples_as_the_whole() -> None:
    """What a target sees must not depend on how far the source reaches beyond it."""
    volume = torch.rand(1, 24, 24, 24)
    source = Grid((0.0,) * 3, (1.0,) * 3, (24, 24, 24))
    target = Grid((8.3, 8.1, 8.2), (0.7, 0.9, 1.0), (8, 8, 8))
    part = source.crop((4, 4, 4), (22, 22, 22))
    torch.testing.assert_close(
        resample(volume[:, 4:22, 4:22, 4:22], part, target), resample(volume, source, target), atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_values_are_those_of_pytorch(factor: int) -> None:
    """Block averages and trilinear sampling by PyTorch's own functions, at points within the volume."""
    random = np.random.default_rng(factor)
    volume = random.random((2, 12, 18, 24), dtype=np.float32)
    source = Grid((0.0,) * 3, (1.5, 1.0, 0.8), (12, 18, 24))
    spacing = tuple(s * factor * f for s, f in zip(source.spacing, (1.0, 1.1, 1.2), strict=True))
    target = Grid((1.6 * factor, 1.1 * factor, 0.9 * factor), spacing, (3, 3, 4))
    coarse = torch.nn.functional.avg_pool3d(torch.from_numpy(volume)[None], factor)
    points = [2 * target.centres(a) / source.extent[a] - 1 for a in range(3)]
    grid = torch.from_numpy(np.stack(np.meshgrid(*points, indexing="ij")[::-1], axis=-1)).float()[None]
    expected = torch.nn.functional.grid_sample(coarse, grid, padding_mode="border", align_corners=False)[0]
    np.testing.assert_allclose(resample(volume, source, target), expected, atol=1e-5)


@pytest.mark.parametrize("mode", ["linear", "nearest"])
def test_arrays_give_arrays_and_tensors_the_same_tensors(mode: str) -> None:
    volume = np.random.default_rng(0).integers(-1000, 1000, (1, *SOURCE.shape)).astype(np.int16)
    target = Grid((1.0, -3.0, 2.0), (2.5, 3.5, 1.0), (9, 12, 20))
    found = resample(volume, SOURCE, target, mode)
    tensor = resample(torch.from_numpy(volume), SOURCE, target, mode)
    assert isinstance(found, np.ndarray) and isinstance(tensor, torch.Tensor)
    np.testing.assert_array_equal(found, tensor.numpy())
    # Strides do not matter: a CT is turned without being copied.
    turned = np.flip(np.ascontiguousarray(np.flip(volume, (1, 3))), (1, 3))
    np.testing.assert_array_equal(resample(turned, SOURCE, target, mode), found)


def test_slices_are_scaled_before_they_are_averaged() -> None:
    volume = np.random.default_rng(0).integers(-3000, 3000, (1, *SOURCE.shape)).astype(np.int16)
    target = Grid((-6.0, 0.0, 0.0), (6.0, 4.0, 5.0), (8, 7, 5))

    def clipped(plane: np.ndarray) -> np.ndarray:
        return np.clip(plane, -1000, 600) + 1000.0

    found = resample(volume, SOURCE, target, values=clipped)
    np.testing.assert_allclose(found, resample(clipped(volume), SOURCE, target), rtol=1e-6)
    assert not found[:, 0].any(), "outside is zero, not the value of zero"


def test_unknown_mode() -> None:
    with pytest.raises(ValueError, match="cubic"):
        resample(torch.ones(1, 3, 3, 3), SOURCE, SOURCE, "cubic")


def oblique_affine() -> np.ndarray:
    """A rotation about a skew axis times unequal spacings, with a flip and an origin."""
    axis = np.array([0.3, -0.5, 0.8]) / np.linalg.norm([0.3, -0.5, 0.8])
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    rotation = np.eye(3) + np.sin(0.4) * cross + (1 - np.cos(0.4)) * cross @ cross
    affine = np.eye(4)
    affine[:3, :3] = rotation @ np.diag([-3.0, 2.0, 2.5])
    affine[:3, 3] = [-100, 37, 211]
    return affine


def test_image_grid_reads_spacings_of_an_oblique_affine() -> None:
    grid = image_grid((12, 14, 10), oblique_affine())
    np.testing.assert_allclose(grid.spacing, (3, 2, 2.5))
    np.testing.assert_allclose(grid.extent, (36, 28, 25))
    assert grid.origin == (0, 0, 0)


def test_the_world_position_of_a_voxel_centre_is_the_same_through_both_affines() -> None:
    affine = oblique_affine()
    target = Grid((4.0, -6.0, 7.5), (1.5, 0.75, 4.0), (5, 6, 7))
    laid = grid_affine(affine, target)
    for index in ((0, 0, 0), (4, 5, 6), (2, 0, 5)):
        millimetres = np.array([target.centres(axis)[i] for axis, i in enumerate(index)])
        # In voxels of the image: its voxel i has its centre at (i + 1/2) spacings.
        by_image = affine[:3, :3] @ (millimetres / (3, 2, 2.5) - 0.5) + affine[:3, 3]
        np.testing.assert_allclose(laid[:3, :3] @ index + laid[:3, 3], by_image)
    np.testing.assert_allclose(grid_affine(affine, image_grid((12, 14, 10), affine)), affine)


def test_crop_keeps_voxels_in_place() -> None:
    part = SOURCE.crop((2, -1, 3), (5, 4, 9))
    assert part.shape == (3, 5, 6)
    np.testing.assert_allclose(part.centres(0), SOURCE.centres(0)[2:5])
    np.testing.assert_allclose(part.centres(1)[1:], SOURCE.centres(1)[:4])
