"""Stored values become HU: what lies plainly in the file is read as pydicom reads it, only quicker."""

from __future__ import annotations

import struct

import numpy as np
import pydicom
import pytest
from compressed_series import put_image
from pydicom.uid import ImplicitVRLittleEndian, JPEG2000Lossless, JPEGExtended12Bit, JPEGLSLossless, RLELossless

from oarseg.dicom import choose_series, read_ct, scan_folder
from oarseg.dicom.read import pixels
from oarseg.dicom.read.jpeg2000 import decode, quick_decoder
from oarseg.dicom.read.series import read_series
from oarseg.errors import InputError

# Large enough for the resolutions of JPEG 2000.
SHAPE = (4, 36, 40)


def stored(low: int, high: int, seed: int = 0) -> np.ndarray:
    """Values (slices, rows, columns) with both ends among them."""
    values = np.random.default_rng(seed).integers(low, high + 1, SHAPE)
    values[:, 0, :2] = low, high
    return values


def with_pixels(values: np.ndarray, **tags: object):
    """A change of a series: other pixels (16 bits) and tags, slice by slice from inferior to superior."""
    signed = values.min() < 0

    def change(slices) -> None:
        for item, plane in zip(slices, values, strict=True):
            item.PixelRepresentation = int(signed)
            item.PixelData = plane.astype("<i2" if signed else "<u2").tobytes()
            for name, value in tags.items():
                setattr(item, name, value)

    return change


CASES = {
    "unsigned, 12 bits": (stored(0, 4095), 1, -1024),
    "signed": (stored(-2000, 3000), 1, 0),
    "all of int16": (stored(-32768, 32767), 1, 0),
    "sums beyond int16": (stored(-32768, 32767), 1, -1024),
    "unsigned beyond int16": (stored(0, 65535), 1, 0),
    "unsigned, back into int16": (stored(0, 65535), 1, -32768),
    "a large intercept": (stored(0, 100), 1, -40000),
    "a slope": (stored(0, 4095), 2, -1024),
    "a broken slope": (stored(0, 4095), 0.37, -1000.5),
}


@pytest.mark.parametrize(("values", "slope", "intercept"), CASES.values(), ids=CASES)
@pytest.mark.parametrize("syntax", [None, ImplicitVRLittleEndian], ids=["explicit", "implicit"])
def test_hu_is_slope_times_value_plus_intercept(values, slope, intercept, syntax, edited) -> None:
    change = with_pixels(values, RescaleSlope=slope, RescaleIntercept=intercept)

    def both(slices) -> None:
        change(slices)
        for item in slices if syntax else ():
            item.file_meta.TransferSyntaxUID = syntax

    found = read_ct(edited(both, shape=SHAPE)).hu
    expected = np.clip(np.rint(values * float(slope) + float(intercept)), -32768, 32767)
    np.testing.assert_array_equal(found, expected)


def test_plain_values_are_those_of_pydicom(edited) -> None:
    """Whatever lies in bits that are not in use."""
    values = stored(0, 65535)
    folder = edited(with_pixels(values, BitsStored=12, HighBit=11), shape=SHAPE)
    for header in choose_series(scan_folder(folder)).slices:
        expected = pydicom.dcmread(header.path).pixel_array
        found = pixels._stored(header, *SHAPE[1:], None)
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)


def test_it_makes_no_difference_which_way_they_are_read(edited, monkeypatch) -> None:
    folder = edited(with_pixels(stored(-2000, 3000)), shape=SHAPE)
    expected = read_ct(folder).hu
    monkeypatch.setattr(pixels, "NATIVE", ())
    np.testing.assert_array_equal(read_ct(folder).hu, expected)


def test_padding_is_air(edited) -> None:
    values = stored(0, 4095)
    values[:, 5, 5] = 0xFFFF - 63
    folder = edited(with_pixels(values, PixelPaddingValue=0xFFFF - 63), shape=SHAPE)
    found = read_ct(folder).hu
    assert (found[:, 5, 5] == pixels.AIR_HU).all() and (found == pixels.AIR_HU).sum() < 100


def compressed(values: np.ndarray, bits: int):
    """A change of a series: JPEG 2000, lossless."""

    def change(slices) -> None:
        with_pixels(values, BitsStored=bits, HighBit=bits - 1)(slices)
        for item in slices:
            item["PixelData"].VR = "OW"
            item.compress(JPEG2000Lossless, encoding_plugin="pylibjpeg", generate_instance_uid=False)

    return change


DEPTHS = {
    "unsigned 12": (stored(0, 4095), 12),
    "unsigned 16": (stored(0, 65535), 16),
    "signed 16": (stored(-32768, 32767), 16),
    "signed 13": (stored(-4096, 4095), 13),
}


@pytest.mark.parametrize(("values", "bits"), DEPTHS.values(), ids=DEPTHS)
def test_jpeg_2000_by_several_threads_is_that_of_pydicom(values, bits, edited) -> None:
    pytest.importorskip("PIL")
    found = choose_series(scan_folder(edited(compressed(values, bits), shape=SHAPE)))
    assert quick_decoder(found.slices) is decode
    for header in found.slices:
        expected = pydicom.dcmread(header.path).pixel_array
        assert decode(header).dtype == expected.dtype
        np.testing.assert_array_equal(decode(header), expected)
    np.testing.assert_array_equal(read_series(found).hu, np.clip(values - 1024, -32768, 32767))


def test_jpeg_2000_that_pillow_reads_otherwise_is_left_to_pydicom(edited, monkeypatch) -> None:
    values = stored(0, 4095)
    folder = edited(compressed(values, 12), shape=SHAPE)
    monkeypatch.setattr("oarseg.dicom.read.jpeg2000.decode", lambda header: values[0].astype(np.uint16) + 1)
    assert quick_decoder(choose_series(scan_folder(folder)).slices) is None
    np.testing.assert_array_equal(read_ct(folder).hu, values - 1024)


def test_a_slice_of_another_depth_is_left_to_pydicom(edited) -> None:
    values = stored(0, 200)

    def change(slices) -> None:
        compressed(values, 12)(slices)
        item = slices[2]
        item.PixelData, item.file_meta.TransferSyntaxUID = values[2].astype("<u2").tobytes(), "1.2.840.10008.1.2.1"
        item.BitsStored, item.HighBit = 8, 7
        item.compress(JPEG2000Lossless, encoding_plugin="pylibjpeg", generate_instance_uid=False)

    folder = edited(change, shape=SHAPE)
    slices = choose_series(scan_folder(folder)).slices
    assert sum(decode(header) is None for header in slices) == 1
    np.testing.assert_array_equal(read_ct(folder).hu, values - 1024)


@pytest.mark.parametrize("bits", [9, 10, 12, 15])
@pytest.mark.parametrize(("syntax", "plugin"), [(JPEGLSLossless, "pyjpegls"), (RLELossless, "pydicom")])
def test_signed_values_without_their_sign_in_the_bits_above(bits, syntax, plugin, edited) -> None:
    """As DCMTK's encoder writes them: the bits above HighBit are 0, and JPEG-LS knows no sign."""
    pytest.importorskip("pydicom.pixels", reason="pydicom 2 does not compress")
    values = stored(-(1 << (bits - 1)), (1 << (bits - 1)) - 1)

    def change(slices) -> None:
        with_pixels(values & ((1 << bits) - 1), BitsStored=bits, HighBit=bits - 1)(slices)
        for item in slices:
            item.compress(syntax, encoding_plugin=plugin, generate_instance_uid=False)
            item.PixelRepresentation = 1

    np.testing.assert_array_equal(read_ct(edited(change, shape=SHAPE)).hu, values - 1024)


def test_what_lossy_compression_makes_too_large_stays_large(edited) -> None:
    """Metal at the end of the range, as a stream of 16 bits has it, is not air; nor is padding beyond it."""
    jpeg_ls = pytest.importorskip("jpeg_ls")
    pytest.importorskip("pydicom.pixels", reason="of pydicom 3")
    for low, high, beyond in ((0, 4095, 4098), (-2048, 2047, 2050)):
        values = stored(low, high)
        values[:, 3:6, 3:6] = beyond

        def change(slices, values=values, low=low) -> None:
            with_pixels(values, BitsStored=12, HighBit=11)(slices)
            for item in slices:
                raw = np.frombuffer(item.PixelData, np.uint16).reshape(SHAPE[1:])
                put_image(item, JPEGLSLossless, bytes(jpeg_ls.encode_array(raw)))

        folder = edited(change, shape=SHAPE)
        np.testing.assert_array_equal(read_ct(folder).hu, values - 1024)


def test_jpeg_of_12_bits_needs_a_package(edited, monkeypatch) -> None:
    """Pillow, which pydicom asks for this transfer syntax, decodes 8."""
    pytest.importorskip("pydicom.pixels", reason="of pydicom 3")
    monkeypatch.setattr("oarseg.dicom.read.pixels.has_plugin", lambda syntax: False)

    def change(slices) -> None:
        for item in slices:
            head = struct.pack(">HHBHHBBBB", 0xFFC1, 11, 12, item.Rows, item.Columns, 1, 1, 0x11, 0)
            scan = struct.pack(">HHBBBBBB", 0xFFDA, 8, 1, 1, 0, 0, 63, 0)
            put_image(item, JPEGExtended12Bit, b"\xff\xd8" + head + scan + bytes(20) + b"\xff\xd9")
            item.BitsStored, item.HighBit, item.PixelRepresentation = 12, 11, 0

    with pytest.raises(InputError, match="no decoder for .*JPEG Extended.*pip install pylibjpeg pylibjpeg-libjpeg"):
        read_ct(edited(change, shape=SHAPE))


def test_what_nothing_decodes_is_not_to_be_installed(edited) -> None:
    def change(slices) -> None:
        for item in slices:
            put_image(item, "1.2.840.10008.1.2.4.100", bytes(20))

    with pytest.raises(InputError, match=r"no decoder for .*MPEG2.*\); export the CT uncompressed"):
        read_ct(edited(change, shape=SHAPE))
