"""From pixels to the contours of an RTSTRUCT: wherever the slices point, they lie on the patient's own surface."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest

from oarseg.dicom import Roi, read_ct, write_rtstruct

ORIENTATIONS = ("HFS", "HFP", "FFS", "FFP", "HFDR", "HFDL", "sagittal", "coronal", "oblique")
SPACING = (3.0, 1.5, 2.0)
# Middle from the scan's middle and radius, LPS mm: nothing about it is symmetric.
BALLS = (((-6.3, 3.7, 0.4), 9.2), ((8.6, -5.2, 7.1), 6.3), ((7.7, 8.9, -8.6), 4.4))


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_contours_lie_within_half_a_pixel_of_the_surface(ct, tmp_path, orientation):
    def depth(points):
        return np.min([np.linalg.norm(points - ct.CENTER - m, axis=-1) - r for m, r in BALLS], axis=0)

    series = ct(orientation, spacing=SPACING, hu=lambda points: np.where(depth(points) < 0, 500, -1000))
    volume = read_ct(series.write(tmp_path / "ct"))
    write_rtstruct(tmp_path / "rt.dcm", volume, [Roi("Balls", (255, 0, 0), volume.hu > 0)])
    slices = {item.SOPInstanceUID: item for item in series.slices}
    drawn = pydicom.dcmread(tmp_path / "rt.dcm").ROIContourSequence[0].ContourSequence
    assert len({c.ContourImageSequence[0].ReferencedSOPInstanceUID for c in drawn}) > 5
    for contour in drawn:
        item = slices[contour.ContourImageSequence[0].ReferencedSOPInstanceUID]
        points = np.array(contour.ContourData, float).reshape(-1, 3)
        row, column = np.array(item.ImageOrientationPatient, float).reshape(2, 3)
        moved = points - np.array(item.ImagePositionPatient, float)
        assert np.abs(moved @ np.cross(row, column)).max() < 2e-3, "on the slice that it refers to"
        place = np.stack([moved @ column / SPACING[1], moved @ row / SPACING[2]], axis=1)
        # A vertex lies half-way between two pixel centres, along the axis where its index is no whole number.
        edge = np.abs(place - np.rint(place)).argmax(axis=1)
        off = np.abs(depth(points)) / np.array(SPACING[1:])[edge]
        assert off.max() <= 0.5 + 2e-3
