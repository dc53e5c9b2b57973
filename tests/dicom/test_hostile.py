"""Files that were made, or damaged, so that a reader hangs, fills the memory or fails without a word."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from compressed_series import compressed, put_image
from deflated import inflate_more
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.tag import Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless, RLELossless

from oarseg.dicom import read_ct, scan_folder
from oarseg.dicom.read import pixels
from oarseg.dicom.read.header import Unreadable, read_header
from oarseg.errors import InputError

try:
    from pydicom.encaps import generate_frames
except ImportError:  # pydicom 2, with which what needs it is skipped
    generate_frames = None


def other_vr(item: Dataset, keyword: str, vr: str, value: bytes) -> None:
    """Give an element a VR that it should not have."""
    tag = Tag(keyword)
    item.set_original_encoding(False, True, "ISO_IR 100")
    item[tag] = RawDataElement(tag, vr, len(value), value, 0, False, True)


def test_a_deflated_file_that_fills_the_memory(edited) -> None:
    """Of 100 kB, which are 13 million empty elements: pydicom would be at work for minutes."""

    def change(slices: list[Dataset]) -> None:
        for item in slices:
            item.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian

    folder = edited(change)
    path = sorted(folder.iterdir())[0]
    inflate_more(path, 100)
    found = read_header(path)
    assert isinstance(found, Unreadable) and found.suspect and found.reason == "deflated, of more than 64 MiB"
    with pytest.raises(InputError, match=rf"1 file\(s\) cannot be read .* {path.name} \(deflated, of more than 64 MiB"):
        read_ct(folder)
    # The others are as they were.
    assert scan_folder(folder).series[0].count == 15


@pytest.mark.parametrize("damage", ["size", "tiles too", "components", "cut short", "another codec"])
def test_a_compressed_slice_that_claims_another_size(ct, tmp_path: Path, damage: str) -> None:
    folder = compressed(ct(shape=(4, 64, 64)), JPEG2000Lossless, "pylibjpeg").write(tmp_path / "ct")
    claim = struct.pack(">LL", 60_000, 60_000)
    for path in folder.iterdir():
        data = bytearray(path.read_bytes())
        start = data.index(b"\xff\x4f\xff\x51")
        if damage == "components":
            data[start + 40 : start + 42] = b"\x40\x00"
        elif damage == "another codec":
            data[start : start + 2] = b"\xff\xd8"
        elif damage == "cut short":
            # The item that holds the stream, and no more of it than 20 bytes.
            data[start - 4 : start] = struct.pack("<L", 20)
            data[start + 20 :] = b"\xfe\xff\xdd\xe0\0\0\0\0"
        else:
            data[start + 8 : start + 16] = claim
            data[start + 24 : start + 32] = claim if damage == "tiles too" else data[start + 24 : start + 32]
        path.write_bytes(data)
    said = {"components": "of 16384 sample", "cut short": "cut short", "another codec": "no JPEG 2000"}
    with pytest.raises(InputError, match=said.get(damage, "is 60000 x 60000 of 1 sample.* says 64 x 64 of one")):
        read_ct(folder)


def tiled(image: np.ndarray) -> bytes:
    """JPEG 2000 of four tiles, one below the other: side by side, Pillow mixes the halves of 16-bit images up."""
    file = io.BytesIO()
    tile = image.shape[1], image.shape[0] // 4
    pytest.importorskip("PIL.Image").fromarray(image).save(file, "JPEG2000", tile_size=tile, no_jp2=True)
    return file.getvalue()


@pytest.mark.parametrize("damage", ["", "missing", "tiny", "none"])
@pytest.mark.parametrize("damaged", [slice(None), slice(2, 3)], ids=["all", "one"])
def test_tiles_of_jpeg_2000(ct, tmp_path: Path, damage: str, damaged: slice) -> None:
    """Missing ones would be read as air, many tiny ones take memory each."""
    series = ct(shape=(4, 128, 128))
    plain = read_ct(ct(shape=(4, 128, 128)).write(tmp_path / "plain")).hu
    for item in series.slices:
        stream = bytearray(tiled(np.frombuffer(item.PixelData, np.uint16).reshape(128, 128)))
        if damage == "missing" and item in series.slices[damaged]:
            # The last tile's part; the end marker stays.
            del stream[stream.rindex(b"\xff\x90\0\x0a") : -2]
        elif damage and item in series.slices[damaged]:
            stream[24:32] = struct.pack(">LL", *((1, 1) if damage == "tiny" else (0, 0)))
        put_image(item, JPEG2000Lossless, bytes(stream))
        item.PixelRepresentation = 0
    folder = series.write(tmp_path / "ct")
    if not damage:
        np.testing.assert_array_equal(read_ct(folder).hu, plain)
        return
    said = {"missing": "tiles of the compressed image are missing", "tiny": "has 16384 tiles", "none": "has 0 tiles"}
    with pytest.raises(InputError, match=said[damage]):
        read_ct(folder)


@pytest.mark.parametrize("damage", ["size", "components", "cut short", "no frame", "another codec"])
def test_a_slice_in_jpeg_ls_that_claims_another_size(ct, tmp_path: Path, damage: str) -> None:
    folder = compressed(ct(shape=(4, 64, 64)), JPEGLSLossless, "pyjpegls").write(tmp_path / "ct")
    for path in folder.iterdir():
        data = bytearray(path.read_bytes())
        start = data.index(b"\xff\xd8\xff\xf7")
        if damage == "size":
            data[start + 7 : start + 11] = struct.pack(">HH", 60_000, 60_000)
        elif damage == "components":
            data[start + 11] = 3
        elif damage == "cut short":
            data[start - 4 : start] = struct.pack("<L", 10)
            data[start + 10 :] = b"\xfe\xff\xdd\xe0\0\0\0\0"
        elif damage == "no frame":
            data[start + 3] = 0xDA
        else:
            data[start : start + 2] = b"\xff\x4f"
        path.write_bytes(data)
    said = {"components": "of 3 sample", "cut short": "cut short", "no frame": "damaged", "another codec": "no JPEG"}
    with pytest.raises(InputError, match=said.get(damage, "is 60000 x 60000 of 1 sample.* says 64 x 64 of one")):
        read_ct(folder)


ENCODERS = {"JPEG-LS": (JPEGLSLossless, "pyjpegls"), "JPEG 2000": (JPEG2000Lossless, "pylibjpeg"),
            "RLE": (RLELossless, "pydicom")}  # fmt: skip


@pytest.mark.parametrize("encoder", ENCODERS.values(), ids=ENCODERS)
@pytest.mark.parametrize("told_by", ["offsets", "extended offsets"])
def test_images_beside_the_one_that_is_checked(ct, tmp_path: Path, encoder: tuple, told_by: str, monkeypatch) -> None:
    """Of these a decoder would take memory for every one that a table names."""
    series = compressed(ct(shape=(4, 64, 64)), *encoder)
    for item in series.slices:
        (image,) = generate_frames(item.PixelData, number_of_frames=1)
        if told_by == "offsets":
            item.PixelData = encapsulate([image, image])
        else:
            item.PixelData = encapsulate([image], has_bot=False)
            item.ExtendedOffsetTable = struct.pack("<Q", 0) * 5000
            item.ExtendedOffsetTableLengths = struct.pack("<Q", len(image)) * 5000
    folder = series.write(tmp_path / "ct")
    monkeypatch.setattr(Dataset, "pixel_array", property(lambda item: pytest.fail("decoded")))
    with pytest.raises(InputError, match="names several compressed images, a CT slice has one"):
        read_ct(folder)


@pytest.mark.parametrize("encoder", ENCODERS.values(), ids=ENCODERS)
def test_a_table_that_names_another_place_is_not_followed(ct, tmp_path: Path, encoder: tuple) -> None:
    plain = read_ct(ct(shape=(4, 64, 64)).write(tmp_path / "plain")).hu
    series = compressed(ct(shape=(4, 64, 64)), *encoder)
    for item in series.slices:
        (image,) = generate_frames(item.PixelData, number_of_frames=1)
        item.PixelData = encapsulate([image], has_bot=False)
        item.ExtendedOffsetTable, item.ExtendedOffsetTableLengths = struct.pack("<Q", 30), struct.pack("<Q", 70)
    np.testing.assert_array_equal(read_ct(series.write(tmp_path / "ct")).hu, plain)


@pytest.mark.parametrize("encoder", ENCODERS.values(), ids=ENCODERS)
def test_why_an_image_cannot_be_decoded(ct, tmp_path: Path, encoder: tuple) -> None:
    """There is a decoder, so that nothing need be installed."""
    series = compressed(ct(shape=(4, 64, 64)), *encoder)
    for item in series.slices:
        (image,) = generate_frames(item.PixelData, number_of_frames=1)
        item.PixelData = encapsulate([image[: max(70, len(image) // 3)] + b"\xff\xd9"])
    with pytest.raises(InputError, match=r"the pixel data \(.*\) cannot be decoded \(.*: .+\)") as raised:
        read_ct(series.write(tmp_path / "ct"))
    assert "pip install" not in str(raised.value) and "plugins" not in str(raised.value)


def test_jpeg_ls_without_its_end_is_not_given_to_the_decoder(ct, tmp_path: Path, monkeypatch) -> None:
    """Cut streams as short as this one keep CharLS at work for ten seconds, and it takes none of them."""
    series = compressed(ct(shape=(4, 64, 64)), JPEGLSLossless, "pyjpegls")
    for item in series.slices:
        (image,) = generate_frames(item.PixelData, number_of_frames=1)
        item.PixelData = encapsulate([image[: len(image) // 3]])
    folder = series.write(tmp_path / "ct")
    monkeypatch.setattr(Dataset, "pixel_array", property(lambda item: pytest.fail("decoded")))
    with pytest.raises(InputError, match="cut short"):
        read_ct(folder)


def test_an_image_longer_than_its_pixels(ct, tmp_path: Path) -> None:
    """Bytes that a decoder would work through, one after the other."""
    series = compressed(ct(shape=(4, 64, 64)), JPEGLSLossless, "pyjpegls")
    for item in series.slices:
        (image,) = generate_frames(item.PixelData, number_of_frames=1)
        item.PixelData = encapsulate([image[:2] + b"\xff" * 100_000 + image[2:]])
    with pytest.raises(InputError, match="longer than its pixels"):
        read_ct(series.write(tmp_path / "ct"))


def test_more_voxels_than_a_ct_has(edited, monkeypatch) -> None:
    monkeypatch.setattr(pixels, "MAX_VOXELS", 16 * 28 * 24 - 1)
    with pytest.raises(InputError, match="16 x 28 x 24 voxels, more than"):
        read_ct(edited(lambda slices: None))


def test_a_single_value_of_another_type_is_no_localizer(edited) -> None:
    folder = edited(lambda slices: [other_vr(item, "ImageType", "FD", struct.pack("<d", 8.5)) for item in slices])
    assert read_ct(folder).shape == (16, 28, 24)


@pytest.mark.parametrize("number", ["²", "9" * 5000, "4 mm"])
def test_a_series_number_that_is_none(edited, number: str) -> None:
    text = number.encode("latin-1")
    folder = edited(lambda slices: [other_vr(item, "SeriesNumber", "LT", text) for item in slices])
    assert read_ct(folder).shape == (16, 28, 24)


def test_bits_as_a_fraction(edited) -> None:
    def change(slices: list[Dataset]) -> None:
        for item in slices:
            other_vr(item, "BitsAllocated", "FD", struct.pack("<d", 16.0))

    with pytest.raises(InputError):
        read_ct(edited(change))


def test_no_value_where_there_should_be_one(edited) -> None:
    def change(slices: list[Dataset]) -> None:
        for item in slices:
            other_vr(item, "Rows", "SQ", b"")

    with pytest.raises(InputError, match="Rows is missing or unreadable"):
        read_ct(edited(change))


def test_a_sequence_where_there_should_be_text(edited) -> None:
    """One with an inner element of an unknown VR: its text cannot be shown."""
    inner = b"\x10\x00\x10\x00ZZ\0\0\4\0\0\0abcd"
    items = b"\xfe\xff\x00\xe0" + struct.pack("<L", len(inner)) + inner

    def write(slices: list[Dataset]) -> None:
        for item in slices:
            other_vr(item, "PatientID", "OB", items)

    folder = edited(write)
    for path in folder.iterdir():
        data = path.read_bytes()
        path.write_bytes(data.replace(b"\x10\x00\x20\x00OB", b"\x10\x00\x20\x00SQ", 1))
    volume = read_ct(folder)
    assert volume.shape == (16, 28, 24) and "PatientID" not in volume.header


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"])
def test_a_uid_that_is_none(edited, keyword: str) -> None:
    folder = edited(lambda slices: [other_vr(item, keyword, "US", b"\5\0") for item in slices])
    with pytest.raises(InputError, match=f"{keyword} is not one UID"):
        read_ct(folder)


def test_a_damaged_element_after_the_pixels(edited) -> None:
    """It shows when the whole file is read for its compressed pixels."""

    def change(slices: list[Dataset]) -> None:
        for item in slices:
            item.compress(RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)

    folder = edited(change)
    for path in folder.iterdir():
        # A sequence and an item, both without a length and without an end.
        sequence, item = b"\xfa\xff\xfa\xffSQ\0\0\xff\xff\xff\xff", b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
        path.write_bytes(path.read_bytes() + sequence + item + b"\x10")
    with pytest.raises(InputError, match="cannot be read"):
        read_ct(folder)
