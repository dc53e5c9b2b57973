"""What an affine says, against figures worked out by hand; and that the geometry needs neither PyTorch nor MONAI."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from oarseg.geometry.affine import LPS_TO_RAS, corner_points, corners_apart, obliqueness, voxel_spacing

# Index axes towards posterior, superior, left: 2, 3 and 1 mm.
AFFINE = np.array([[0, 0, -1, 10], [-2, 0, 0, 20], [0, 3, 0, 30], [0, 0, 0, 1.0]])


def test_spacing_is_that_of_the_index_axes() -> None:
    assert voxel_spacing(AFFINE).tolist() == [2, 3, 1]


def test_the_corners_of_a_box() -> None:
    points = corner_points(AFFINE, (0, 0, 0), (4, 5, 6))
    assert points.shape == (8, 3)
    assert points.min(axis=0).tolist() == [4, 12, 30] and points.max(axis=0).tolist() == [10, 20, 45]


def test_grids_that_differ_in_place_or_spacing_have_corners_apart() -> None:
    moved, wider = AFFINE.copy(), AFFINE.copy()
    moved[1, 3] += 0.25
    wider[1, 0] = -2.1
    assert corners_apart((5, 5, 5), AFFINE, AFFINE) == 0
    assert corners_apart((5, 5, 5), AFFINE, moved) == 0.25
    assert corners_apart((5, 5, 5), AFFINE, wider) == pytest.approx(0.4)


def test_obliqueness_is_the_same_in_lps() -> None:
    turn = np.radians(20)
    affine = np.eye(4)
    affine[:2, :2] = 2 * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    assert obliqueness(affine) == pytest.approx(20) == obliqueness(LPS_TO_RAS @ affine)
    assert np.array_equal(LPS_TO_RAS @ LPS_TO_RAS, np.eye(4))


def test_the_geometry_imports_neither_pytorch_nor_monai() -> None:
    modules = "affine box canvas check_ct grid label_map volume"
    code = (
        f"import sys; from oarseg.geometry import {', '.join(modules.split())}; "
        "sys.exit(bool({'torch', 'monai'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
