from __future__ import annotations

import importlib.util
import struct

import numpy as np
import pytest
from compressed_series import compressed, put_image
from pydicom.uid import DeflatedExplicitVRLittleEndian

from oarseg.dicom import check_series, choose_series, read_ct, scan_folder
from oarseg.errors import InputError, OarsegError

ORIENTATIONS = ("HFS", "HFP", "FFS", "FFP", "HFDR", "HFDL", "sagittal", "coronal", "oblique")
LPS_TO_RAS = np.array([-1.0, -1.0, 1.0])


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_marker_is_at_its_patient_position(ct, tmp_path, orientation):
    volume = read_ct(ct(orientation).write(tmp_path))
    index = np.argwhere(volume.hu > 800).mean(axis=0)
    ras = (volume.affine @ [*index, 1])[:3]
    assert volume.hu.dtype == np.int16
    assert np.allclose(ras, ct.MARKER * LPS_TO_RAS, atol=0.8)
    assert volume.hu[tuple(np.rint(index).astype(int))] == 1200


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_affine_is_a_rotation_times_spacings(ct, tmp_path, orientation):
    volume = read_ct(ct(orientation).write(tmp_path))
    directions = volume.affine[:3, :3] / volume.spacing_mm
    assert np.allclose(volume.spacing_mm, (3.0, 1.5, 2.0), atol=1e-4)
    assert np.allclose(directions.T @ directions, np.eye(3), atol=1e-5)


def test_slice_points_agree_with_affine(ct, tmp_path):
    volume = read_ct(ct("oblique").write(tmp_path))
    point = volume.slice_points(5, np.array([3.5]), np.array([7.25]))[0]
    assert np.allclose(point * LPS_TO_RAS, (volume.affine @ [5, 3.5, 7.25, 1])[:3], atol=1e-3)


def test_instances_follow_the_slices(ct, tmp_path):
    series = ct("FFS")
    volume = read_ct(series.write(tmp_path))
    assert [i.sop_instance_uid for i in volume.instances] == [s.SOPInstanceUID for s in series.slices]
    assert volume.series_uid == series.slices[0].SeriesInstanceUID
    assert volume.warnings == ()


def test_check_series_reads_no_pixels(ct, tmp_path):
    grid = check_series(choose_series(scan_folder(ct().write(tmp_path))))
    assert grid.shape == (16, 28, 24) and not hasattr(grid, "hu")


def test_no_patient_identity_in_text(ct, tmp_path):
    volume = read_ct(ct().write(tmp_path))
    shown = repr(volume) + repr(volume.grid()) + repr(scan_folder(tmp_path))
    for secret in ("Secret", "P1'", "19500101"):
        assert secret not in shown


def test_patient_of_errors_is_not_named(edited):
    with pytest.raises(OarsegError) as caught:
        read_ct(edited(lambda s: setattr(s[3], "PatientID", "SECRET2")))
    assert "several patients" in str(caught.value) and "SECRET2" not in str(caught.value)


def test_integer_rescale_is_exact(edited):
    def change(slices):
        for item in slices:
            item.RescaleSlope, item.RescaleIntercept = 2, -3
            item.PixelData = np.full((28, 24), 100, "<i2").tobytes()

    assert (read_ct(edited(change)).hu == 197).all()


def test_fractional_rescale_is_rounded_and_differs_by_slice(edited):
    def change(slices):
        for k, item in enumerate(slices):
            item.RescaleSlope, item.RescaleIntercept = 0.5, k + 0.2
            item.PixelData = np.full((28, 24), 101, "<i2").tobytes()

    volume = read_ct(edited(change))
    assert [int(s[0, 0]) for s in volume.hu] == [round(50.7 + k) for k in range(16)]


def test_values_beyond_int16_are_clipped(edited):
    def change(slices):
        for item in slices:
            item.PixelRepresentation, item.RescaleIntercept = 0, 0
            item.PixelData = np.full((28, 24), 65000, "<u2").tobytes()

    assert (read_ct(edited(change)).hu == 32767).all()


@pytest.mark.parametrize(("padding", "vr"), [(-2000, "SS"), (63536, "US")])
def test_padding_becomes_air(edited, padding, vr):
    def change(slices):
        for item in slices:
            stored = np.frombuffer(item.PixelData, "<i2").copy()
            stored[:50] = -2000
            item.PixelData = stored.tobytes()
            item.add_new("PixelPaddingValue", vr, padding)

    assert read_ct(edited(change)).hu.min() == -1000


def test_padding_that_is_tissue_is_not_applied(edited):
    def change(slices):
        for item in slices:
            item.add_new("PixelPaddingValue", "SS", 1044)

    volume = read_ct(edited(change))
    assert (volume.hu == 20).any()
    assert any("PixelPaddingValue" in w for w in volume.warnings)


def test_missing_patient_position_warns(edited):
    volume = read_ct(edited(lambda slices: [s.pop("PatientPosition") for s in slices]))
    assert any("PatientPosition" in w for w in volume.warnings)


def test_missing_frame_of_reference_warns(edited):
    volume = read_ct(edited(lambda slices: [s.pop("FrameOfReferenceUID") for s in slices]))
    assert volume.frame_of_reference_uid == ""
    assert any("RTSTRUCT" in w for w in volume.warnings)


def test_deflated_series_is_read(edited):
    def change(slices):
        for item in slices:
            item.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian

    assert read_ct(edited(change)).hu.max() == 1200


@pytest.mark.parametrize(
    ("syntax", "plugin"), [("1.2.840.10008.1.2.4.90", "pylibjpeg"), ("1.2.840.10008.1.2.4.80", "pyjpegls")]
)
def test_compressed_without_loss_gives_the_same_volume(ct, tmp_path, syntax, plugin):
    series = ct(shape=(4, 64, 64))
    plain = read_ct(series.write(tmp_path / "plain"))
    packed = read_ct(compressed(series, syntax, plugin).write(tmp_path / "packed"))
    assert (packed.hu == plain.hu).all()
    cut = sorted((tmp_path / "packed").iterdir())[2]
    cut.write_bytes(cut.read_bytes()[:-40])
    with pytest.raises(InputError, match=rf"{cut.name}.*cut short"):
        read_ct(tmp_path / "packed")


@pytest.mark.skipif(importlib.util.find_spec("libjpeg") is not None, reason="pylibjpeg-libjpeg is installed")
def test_undecodable_syntax_names_it_and_the_package(edited):
    def change(slices):
        for item in slices:
            # JPEG Lossless: no decoder among the dependencies.
            frame = struct.pack(">HHBHHBBBB", 0xFFC3, 11, 16, item.Rows, item.Columns, 1, 1, 0x11, 0)
            put_image(item, "1.2.840.10008.1.2.4.70", b"\xff\xd8" + frame + b"\xff\xd9")

    with pytest.raises(InputError, match=r"1\.2\.840\.10008\.1\.2\.4\.70.*pip install"):
        read_ct(edited(change))
