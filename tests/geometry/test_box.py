"""Boxes around organs."""

from __future__ import annotations

import numpy as np
import pytest

from oarseg.transforms import Box, Grid, box_of_mask

GRID = Grid((10.0, 0.0, -5.0), (3.0, 2.0, 1.0), (6, 7, 8))
BOX = Box((0.0, 10.0, 20.0), (30.0, 20.0, 24.0))


def test_box_of_mask_holds_whole_voxels() -> None:
    mask = np.zeros(GRID.shape, dtype=bool)
    mask[2, 3, 4] = mask[4, 3, 7] = True
    box = box_of_mask(mask, GRID)
    assert box.low == (16.0, 6.0, -1.0)
    assert box.high == (25.0, 8.0, 3.0)
    assert box.size == (9.0, 2.0, 4.0)
    assert box.centre == (20.5, 7.0, 1.0)


def test_box_of_mask_at_the_border_and_of_nothing() -> None:
    box = box_of_mask(np.ones(GRID.shape), GRID)
    assert box.low == GRID.origin
    assert box.size == GRID.extent
    assert box_of_mask(np.zeros(GRID.shape), GRID) is None


def test_enlarged_by_margin_or_to_the_field() -> None:
    large = BOX.enlarged(margin=(5, 5, 5), field=(20, 30, 10))
    # 30 + 2 * 5 beats 20; the field 30 beats 10 + 2 * 5; 4 + 2 * 5 beats 10.
    assert large.size == (40, 30, 14)
    assert large.centre == BOX.centre


def test_grid_covers_the_box() -> None:
    grid = BOX.grid((10, 20, 8))
    assert grid.origin == BOX.low
    assert grid.spacing == (3.0, 0.5, 0.5)
    assert grid.extent == BOX.size


def test_jitter_moves_each_face_by_at_most_so_much() -> None:
    random = np.random.RandomState(0)
    moved = np.array([[*b.low, *b.high] for b in (BOX.jittered(3, random) for _ in range(300))])
    shift = moved - [*BOX.low, *BOX.high]
    assert np.abs(shift).max() <= 3
    assert (np.abs(shift).max(axis=0) > 2.5).all(), "every face moves"
    assert (shift.min(axis=0) < -2).all() and (shift.max(axis=0) > 2).all()
    # Independently: the six faces do not move together.
    assert np.abs(np.corrcoef(shift.T) - np.eye(6)).max() < 0.3


def test_jitter_never_turns_a_small_box_inside_out() -> None:
    random, small = np.random.RandomState(0), Box((0.0, 0.0, 0.0), (2.0, 2.0, 2.0))
    for _ in range(500):
        assert min(small.jittered(10, random).size) >= 1


def test_no_jitter_is_the_same_box() -> None:
    same = BOX.jittered(0, np.random.RandomState(0))
    assert same.low == pytest.approx(BOX.low) and same.high == pytest.approx(BOX.high)
