from __future__ import annotations

import numpy as np
import pytest
from matplotlib.path import Path as Polygon

from oarseg.dicom import mask_contours, read_ct
from oarseg.dicom.write.contours import plane_contours
from oarseg.dicom.write.rtstruct import contour_text
from oarseg.errors import GeometryError


def area(ring):
    x, y = ring.T
    return abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2


def filled(rings, shape):
    """Pixels whose centre lies within an odd number of rings."""
    rows, columns = np.indices(shape)
    # A hair off the centre: the channel of a keyhole runs through centres.
    points = np.stack([columns.ravel() + 1e-3, rows.ravel() + 1.7e-3], axis=1)
    inside = np.zeros(len(points), bool)
    for ring in rings:
        inside ^= Polygon(np.vstack([ring, ring[:1]]), closed=True).contains_points(points)
    return inside.reshape(shape)


def crossings(ring):
    """Pairs of edges that cross in the inside of both."""
    a, b = ring, np.roll(ring, -1, axis=0)

    def side(p, q, r):
        return np.sign((q[..., 0] - p[..., 0]) * (r[..., 1] - p[..., 1])
                       - (q[..., 1] - p[..., 1]) * (r[..., 0] - p[..., 0]))  # fmt: skip

    a1, b1, a2, b2 = a[:, None], b[:, None], a[None], b[None]
    one, two = side(a1, b1, a2) * side(a1, b1, b2), side(a2, b2, a1) * side(a2, b2, b1)
    return int(((one < 0) & (two < 0)).sum()) // 2


MASKS = {
    "block": [[0, 0, 0, 0, 0], [0, 1, 1, 1, 0], [0, 1, 1, 1, 0], [0, 0, 0, 0, 0]],
    "pixel": [[0, 0, 0], [0, 1, 0], [0, 0, 0]],
    "whole plane": [[1, 1], [1, 1]],
    "corner touch": [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]],
    "hole": [[1, 1, 1, 1, 1], [1, 0, 0, 1, 1], [1, 1, 0, 1, 1], [1, 1, 1, 1, 1]],
    "two holes in a row": [[1] * 7, [1, 0, 1, 1, 0, 0, 1], [1] * 7],
    "island in a hole": [[1] * 7, [1, 0, 0, 0, 0, 0, 1], [1, 0, 0, 1, 0, 0, 1], [1, 0, 0, 0, 0, 0, 1], [1] * 7],
    "line": [[0, 0, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0]],
}


@pytest.mark.parametrize("name", MASKS)
def test_mask_comes_back_exactly(name):
    mask = np.array(MASKS[name], bool)
    rings = list(plane_contours(mask))
    assert (filled(rings, mask.shape) == mask).all()


@pytest.mark.parametrize("seed", range(12))
def test_random_masks_come_back_and_never_cross(seed):
    mask = np.random.default_rng(seed).random((17, 21)) < (0.3 + 0.05 * seed)
    rings = list(plane_contours(mask))
    assert (filled(rings, mask.shape) == mask).all()
    for ring in rings:
        assert len(ring) >= 3
        assert not (ring[0] == ring[-1]).all()
        assert (np.abs(np.diff(ring, axis=0)).sum(axis=1) > 0).all()
        assert crossings(ring) == 0


def test_known_areas():
    # A block of n x m pixels loses an eighth of a pixel at each of its four corners.
    block = np.ones((6, 9), bool)
    (ring,) = plane_contours(block)
    assert area(ring) == pytest.approx(6 * 9 - 0.5)
    assert len(ring) == 8
    block[2:4, 3:6] = False
    (ring,) = plane_contours(block)
    assert area(ring) == pytest.approx((6 * 9 - 0.5) - (2 * 3 - 0.5))


def test_no_contour_of_an_empty_mask(ct, tmp_path):
    volume = read_ct(ct().write(tmp_path))
    assert mask_contours(np.zeros(volume.shape, bool), volume) == []


def test_wrong_shape_is_refused(ct, tmp_path):
    volume = read_ct(ct().write(tmp_path))
    with pytest.raises(GeometryError, match=r"\(16, 24, 28\).*\(16, 28, 24\)"):
        mask_contours(np.zeros((16, 24, 28), bool), volume)


@pytest.mark.parametrize("orientation", ["HFS", "HFP", "FFS", "FFP", "HFDR", "HFDL", "sagittal", "coronal", "oblique"])
def test_contours_lie_around_the_marker_in_patient_mm(ct, tmp_path, orientation):
    volume = read_ct(ct(orientation).write(tmp_path))
    contours = mask_contours(volume.hu > 800, volume)
    points = np.concatenate([c.points for c in contours])
    assert np.allclose((points.max(0) + points.min(0)) / 2, ct.MARKER, atol=1.6)
    assert np.linalg.norm(points - ct.MARKER, axis=1).max() < 5.5 + 1.5
    for contour in contours:
        off = contour.points - volume.instances[contour.slice_index].position
        normal = np.cross(volume.row_direction, volume.column_direction)
        assert np.abs(off @ normal).max() < 1e-3


def test_numbers_fit_into_ds(ct, tmp_path):
    volume = read_ct(ct("oblique", center=np.array([-1234.56789, 987.654321, -2345.6])).write(tmp_path))
    mask = np.zeros(volume.shape, bool)
    mask[5:9, 4:12, 6:15] = True
    for contour in mask_contours(mask, volume):
        text = contour_text(contour)
        assert len(text) % 2 == 0
        numbers = text.decode().strip().split("\\")
        assert len(numbers) == 3 * len(contour.points)
        assert max(map(len, numbers)) <= 16 and "-0.0" not in numbers and not any("e" in n for n in numbers)
