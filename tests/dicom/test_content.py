from __future__ import annotations

import numpy as np
import pytest

from oarseg.dicom import read_ct
from oarseg.errors import InputError


def crop(item):
    item.Rows = 20
    item.PixelData = item.PixelData[: 20 * 24 * 2]


BAD = {
    "no pixels": (lambda s: s[5].pop("PixelData"), "without pixel data"),
    "pixels too short": (lambda s: setattr(s[5], "PixelData", s[5].PixelData[:98]), r"too short, 98.*expected 1344"),
    "inverted grey": (lambda s: setattr(s[5], "PhotometricInterpretation", "MONOCHROME1"), "MONOCHROME1"),
    "colour": (lambda s: setattr(s[5], "SamplesPerPixel", 3), r"3 sample"),
    "frames": (lambda s: setattr(s[5], "NumberOfFrames", 2), "2 frames in one file"),
    "no slope": (lambda s: s[5].pop("RescaleSlope"), "RescaleSlope is missing or unreadable.*HU"),
    "no intercept": (lambda s: s[5].pop("RescaleIntercept"), "RescaleIntercept is missing or unreadable.*HU"),
    "slope zero": (lambda s: setattr(s[5], "RescaleSlope", 0), "RescaleSlope is 0"),
    "no instance UID": (lambda s: s[5].pop("SOPInstanceUID"), "SOPInstanceUID is missing"),
    "bits": (lambda s: setattr(s[5], "BitsAllocated", 12), "BitsAllocated is 12"),
    "mixed studies": (lambda s: setattr(s[5], "StudyInstanceUID", "1.2.3"), "mixes slices of several studies"),
    "mixed size": (lambda s: crop(s[5]), r"mixes image sizes.*\(20, 24\)|mixes image sizes.*\(28, 24\)"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_content_is_refused(edited, case):
    change, message = BAD[case]
    with pytest.raises(InputError, match=message):
        read_ct(edited(change))


@pytest.mark.parametrize("left", [0.95, 0.5])
def test_file_cut_in_the_pixels_is_named(edited, left):
    folder = edited(lambda s: None)
    victim = sorted(folder.iterdir())[3]
    whole = victim.read_bytes()
    victim.write_bytes(whole[: int(len(whole) * left)])
    with pytest.raises(InputError, match=rf"{victim.name}.*cut short"):
        read_ct(folder)


@pytest.mark.parametrize("bytes_left", [200, 420, 700, 1000])
def test_file_cut_in_the_header_is_named(edited, bytes_left):
    folder = edited(lambda s: None)
    victim = sorted(folder.iterdir())[3]
    victim.write_bytes(victim.read_bytes()[:bytes_left])
    with pytest.raises(InputError, match=victim.name):
        read_ct(folder)


def test_units_other_than_hu_warn(edited):
    volume = read_ct(edited(lambda s: [setattr(i, "RescaleType", "US") for i in s]))
    assert any("RescaleType" in w for w in volume.warnings)


def test_8_bit_pixels_are_read(edited):
    def change(slices):
        for item in slices:
            item.BitsAllocated = item.BitsStored = 8
            item.HighBit, item.PixelRepresentation, item.RescaleIntercept = 7, 0, -100
            item.PixelData = np.full(28 * 24, 130, np.uint8).tobytes()
            item["PixelData"].VR = "OB"

    assert (read_ct(edited(change)).hu == 30).all()
