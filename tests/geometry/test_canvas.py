"""Painting organs onto the original grid."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

from oarseg.inference import Canvas
from oarseg.inference.localize import keep_piece, largest_piece
from oarseg.transforms import Grid

GRID = Grid((0.0, 0.0, 0.0), (3.0, 2.0, 2.0), (10, 12, 14))


def full(value: float, shape: tuple[int, int, int]) -> np.ndarray:
    return np.full(shape, value, np.float32)


def test_the_likelier_organ_wins_whatever_the_order() -> None:
    part = GRID.crop((2, 2, 2), (6, 6, 6))
    for order in ((1, 2), (2, 1)):
        canvas = Canvas(GRID)
        for value in order:
            canvas.paint(value, full({1: 0.6, 2: 0.9}[value], part.shape), part)
        assert (canvas.label[2:6, 2:6, 2:6] == 2).all()


def test_between_equals_the_first_stays() -> None:
    canvas = Canvas(GRID)
    assert canvas.paint(3, full(0.75, GRID.shape), GRID) == 10 * 12 * 14
    assert canvas.paint(5, full(0.75, GRID.shape), GRID) == 0
    assert (canvas.label == 3).all()


def test_below_one_half_nothing_is_painted() -> None:
    canvas = Canvas(GRID)
    assert canvas.paint(1, full(0.49, GRID.shape), GRID) == 0
    assert canvas.paint(1, full(0.5, GRID.shape), GRID) == 10 * 12 * 14
    assert canvas.label.dtype == np.uint8


def test_exactly_the_covered_voxels_are_painted() -> None:
    canvas = Canvas(GRID)
    part = GRID.crop((3, 0, 5), (7, 4, 14))
    assert canvas.paint(4, full(1.0, part.shape), part) == 4 * 4 * 9
    expected = np.zeros(GRID.shape, np.uint8)
    expected[3:7, 0:4, 5:14] = 4
    np.testing.assert_array_equal(canvas.label, expected)


def test_a_fine_source_paints_the_voxels_whose_centres_it_holds() -> None:
    canvas = Canvas(GRID)
    # From 4.4 to 16.4, 1.2 to 9.2 and 2.9 to 10.9 mm; centres are at 1.5 + 3 i and 1 + 2 j.
    source = Grid((4.4, 1.2, 2.9), (0.5, 0.5, 0.5), (24, 16, 16))
    canvas.paint(1, full(1.0, source.shape), source)
    found = np.argwhere(canvas.label)
    assert found.min(axis=0).tolist() == [1, 1, 1]
    assert found.max(axis=0).tolist() == [4, 4, 4]
    assert len(found) == 4 * 4 * 4


def test_a_source_beyond_the_image_is_cut_off() -> None:
    canvas = Canvas(GRID)
    around = Grid((-9.0, -8.0, -6.0), (3.0, 2.0, 2.0), (5, 6, 5))
    assert canvas.paint(2, full(1.0, around.shape), around) == 2 * 2 * 2
    assert (canvas.label[:2, :2, :2] == 2).all()
    away = Grid((100.0, 0.0, 0.0), (3.0, 2.0, 2.0), (5, 6, 5))
    assert canvas.paint(2, full(1.0, away.shape), away) == 0
    before = Grid((-100.0, 0.0, 0.0), (3.0, 2.0, 2.0), (5, 6, 5))
    assert canvas.paint(2, full(1.0, before.shape), before) == 0


@pytest.mark.parametrize("spacing", [(0.8, 0.9, 1.1), (1.3, 0.5, 0.7), (2.0, 2.0, 2.0)])
def test_a_ball_drawn_elsewhere_arrives_unshifted(spacing: tuple) -> None:
    """The middle and the volume of a ball survive the way from its own grid to the canvas."""
    grid = Grid((0.0,) * 3, (2.0, 1.5, 1.5), (30, 40, 40))
    middle, radius = np.array([31.3, 28.7, 33.1]), 14.0
    source = Grid((12.1, 9.3, 14.2), spacing, tuple(int(40 / s) for s in spacing))
    axes = np.meshgrid(*(source.centres(a) for a in range(3)), indexing="ij")
    distance = np.sqrt(sum((x - m) ** 2 for x, m in zip(axes, middle, strict=True)))
    canvas = Canvas(grid)
    count = canvas.paint(6, expit((radius - distance).astype(np.float32)), source)
    found = np.argwhere(canvas.label == 6)
    centre = [grid.centres(axis)[found[:, axis]].mean() for axis in range(3)]
    np.testing.assert_allclose(centre, middle, atol=0.1)
    assert count * 4.5 == pytest.approx(4 / 3 * np.pi * radius**3, rel=0.03)


def test_largest_piece() -> None:
    mask = np.zeros((8, 8, 8), dtype=bool)
    mask[1:3, 1:3, 1:3] = True
    mask[3, 3, 3] = True
    mask[6:8, 6:8, 6] = True
    piece = largest_piece(mask)
    # The corner neighbour belongs to it (26-connected), the other piece does not.
    assert piece.sum() == 9 and piece[3, 3, 3] and not piece[6, 6, 6]
    assert not largest_piece(np.zeros((3, 3, 3))).any()
    assert largest_piece(np.ones((2, 2, 2))).sum() == 8


def test_keep_piece_keeps_the_soft_border() -> None:
    probability = np.random.default_rng(0).random((7, 7, 7))
    piece = np.zeros((7, 7, 7), dtype=np.int8)
    piece[3, 3, 3] = 1
    kept = keep_piece(probability, piece)
    np.testing.assert_array_equal(kept[2:5, 2:5, 2:5], probability[2:5, 2:5, 2:5])
    assert int((kept > 0).sum()) <= 27
