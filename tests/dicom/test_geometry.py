from __future__ import annotations

import numpy as np
import pytest

from oarseg.dicom import read_ct
from oarseg.errors import GeometryError, InputError


def shift(item, x=0.0, y=0.0, z=0.0):
    item.ImagePositionPatient = [float(a) + b for a, b in zip(item.ImagePositionPatient, (x, y, z), strict=True)]


def each(slices, change):
    for k, item in enumerate(slices):
        change(k, item)


BAD = {
    "gap": (lambda s: s.pop(7), r"gaps: about 1 slice.*3\.00 mm.*slice positions"),
    "two gaps": (lambda s: (s.pop(12), s.pop(5), s.pop(5)), r"about 3 slice\(s\) missing"),
    "duplicate position": (lambda s: shift(s[4], z=3), r"position of another one.*slice positions|Slice positions"),
    "uneven": (lambda s: each(s[8:], lambda k, i: shift(i, z=0.8 * k)), r"unevenly spaced: 3\.00 to 3\.80"),
    "tilted gantry": (lambda s: each(s, lambda k, i: shift(i, y=0.5 * k)), r"tilted.*9\.5 degrees"),
    "one slice shifted": (lambda s: shift(s[6], x=2), r"shifted sideways.*2\.00 mm"),
    "mixed orientation": (
        lambda s: setattr(s[5], "ImageOrientationPatient", [0, 1, 0, 0, 0, -1]),
        r"mixes orientations.*1 of 16",
    ),
    "mixed spacing": (lambda s: setattr(s[5], "PixelSpacing", [1.5, 1.9]), "mixes pixel spacings"),
    "mixed frame": (lambda s: setattr(s[5], "FrameOfReferenceUID", "1.2.3"), "mixes 2 frames of reference"),
    "no position": (lambda s: s[5].pop("ImagePositionPatient"), "ImagePositionPatient is missing"),
    "no orientation": (lambda s: s[5].pop("ImageOrientationPatient"), "ImageOrientationPatient is missing"),
    "no spacing": (lambda s: s[5].pop("PixelSpacing"), "PixelSpacing is missing"),
    "zero spacing": (lambda s: [setattr(i, "PixelSpacing", [0, 1]) for i in s], "two positive numbers"),
    "skewed axes": (
        lambda s: [setattr(i, "ImageOrientationPatient", [1, 0, 0, 0.1, 0.995, 0]) for i in s],
        "right angle",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_geometry_is_refused(edited, case):
    change, message = BAD[case]
    with pytest.raises(GeometryError, match=message):
        read_ct(edited(change))


def test_letters_in_a_number_are_refused(edited, tmp_path):
    folder = edited(lambda s: None)
    for file in folder.iterdir():
        file.write_bytes(file.read_bytes().replace(b"1.5\\2.0", b"1.5\\2,x"))
    with pytest.raises(InputError, match="PixelSpacing is (not numeric|missing or unreadable)"):
        read_ct(folder)


def test_wrong_number_of_values_is_refused(edited):
    with pytest.raises(InputError, match="PixelSpacing is .*expected 2"):
        read_ct(edited(lambda s: setattr(s[5], "PixelSpacing", [1.0, 1.0, 1.0])))


@pytest.mark.parametrize("orientation", ["FFS", "sagittal", "oblique"])
def test_gap_is_seen_in_any_orientation(edited, orientation):
    with pytest.raises(GeometryError, match="gaps"):
        read_ct(edited(lambda s: s.pop(7), orientation=orientation))


def test_rounded_positions_are_accepted_and_kept_for_contours(edited):
    volume = read_ct(edited(lambda s: shift(s[4], z=0.08)))
    assert volume.spacing_mm[0] == pytest.approx(3.0)
    on_slice = volume.slice_points(4, np.array([0]), np.array([0]))[0]
    assert on_slice[2] == pytest.approx((volume.affine @ [4, 0, 0, 1])[2] + 0.08, abs=1e-4)


def test_tilt_in_the_header_alone_warns(edited):
    volume = read_ct(edited(lambda s: [setattr(i, "GantryDetectorTilt", 12) for i in s]))
    assert any("12 degrees" in w for w in volume.warnings)


def test_acquisitions_in_one_series_are_named(edited):
    def change(slices):
        for k, item in enumerate(slices):
            item.AcquisitionNumber = k % 2
            shift(item, z=-3.0 * (k % 2))

    with pytest.raises(GeometryError, match="2 acquisitions"):
        read_ct(edited(change))
