"""JPEG 2000 by Pillow, which decodes several slices at a time; the decoder that pydicom uses takes one after another.

Pillow fills 16 bits: it shifts the values of fewer bits to the left and makes signed ones positive, which is undone
here. What it gives is compared with pydicom's for the first slice of a series, and not used where it differs.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Sequence

import numpy as np
import pydicom

from oarseg.dicom.guards.frame import check_size, cut_short, take_frame
from oarseg.dicom.read.header import Header
from oarseg.errors import InputError

SYNTAXES = ("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91", "1.2.840.10008.1.2.4.201",
            "1.2.840.10008.1.2.4.202", "1.2.840.10008.1.2.4.203")  # fmt: skip
# JPEG 2000 proper, of which the codestream's header is read below.
DECODED = SYNTAXES[:2]
# Stored values (rows, columns), or None where it is left to pydicom.
Decoder = Callable[[Header], np.ndarray | None]
START = b"\xff\x4f\xff\x51"
# Of the SIZ segment (ISO/IEC 15444-1, A.5.1), counted from the start of the codestream: width and height, the offsets
# that they begin at, and the same of tiles; number of components; sign and bits of the first one.
SIZES, COMPONENTS, DEPTH = struct.Struct(">LLLLLLLL"), slice(40, 42), 42
SIZES_AT, MOST_TILES = 8, 1024
# A tile's part (A.4.2): marker, length of this segment, number of the tile, length of the part, its number, how many.
PART, PART_MARKER = struct.Struct(">HHHLBB"), 0xFF90


def quick_decoder(slices: Sequence[Header]) -> Decoder | None:
    """Return what decodes the slices of a series in several threads; None where there is no such."""
    first = slices[0]
    if any(header.transfer_syntax not in DECODED for header in slices):
        return None
    try:
        dataset = pydicom.dcmread(first.path)
        check_stream(take_frame(dataset, first), first)
        expected = dataset.pixel_array
        found = decode(first)
    except Exception:  # noqa: BLE001 - the file is damaged, or something is not installed: pydicom's path says which
        return None
    same = found is not None and found.dtype == expected.dtype and np.array_equal(found, expected)
    return decode if same else None


def decode(header: Header) -> np.ndarray | None:
    """Return the stored values of one slice; None where it is not 9 to 16 bits of grey, or damaged."""
    from PIL import Image

    try:
        stream = take_frame(pydicom.dcmread(header.path), header)
        check_stream(stream, header)
        if stream[:4] != START or stream[COMPONENTS] != b"\x00\x01":
            return None
        signed, bits = bool(stream[DEPTH] & 0x80), (stream[DEPTH] & 0x7F) + 1
        if not 9 <= bits <= 16 or signed != (header.text("PixelRepresentation") == "1"):
            return None
        with Image.open(io.BytesIO(stream)) as image:
            if image.size != (int(header.text("Columns")), int(header.text("Rows"))) or image.mode != "I;16":
                return None
            values = np.array(image, dtype=np.uint16) >> (16 - bits)
    except (OSError, ValueError, IndexError, AttributeError, InputError, Image.DecompressionBombError):
        return None
    return (values.astype(np.int32) - (1 << (bits - 1))).astype(np.int16) if signed else values


def check_stream(stream: bytes, header: Header) -> None:
    """Raise InputError where an image has another size than the header says, very many tiles, or lacks some."""
    # A stream should begin at once; some are wrapped in a file of their own, and a wrapper may hold several.
    place = 0 if stream.startswith(START) else stream.find(START)
    if place < 0:
        raise InputError(f"{header.path.name}: the compressed pixel data are no JPEG 2000; export the CT again")
    while place >= 0:
        if len(stream) < place + COMPONENTS.stop:
            raise cut_short(header)
        right, bottom, left, top, *tile = SIZES.unpack_from(stream, place + SIZES_AT)
        check_size(header, right - left, bottom - top, int.from_bytes(stream[place:][COMPONENTS], "big"))
        count = _tiles(right, tile[0], tile[2]) * _tiles(bottom, tile[1], tile[3])
        if not 0 < count <= MOST_TILES:
            # Each takes memory of its own, however small it is.
            raise InputError(f"{header.path.name}: the compressed image has {count} tiles; export the CT again")
        if not set(range(count)) <= _tiles_in(stream, place):
            raise InputError(f"{header.path.name}: tiles of the compressed image are missing; transfer the file again")
        place = -1 if place == 0 else stream.find(START, place + 1)


def _tiles(end: int, size: int, offset: int) -> int:
    """Return the number of tiles along an axis."""
    return -(-(end - offset) // size) if size else 0


def _tiles_in(stream: bytes, place: int) -> set[int]:
    """Return the numbers of the tiles of which the codestream at ``place`` has parts."""
    found: set[int] = set()
    place += 2
    while len(stream) >= place + PART.size:
        marker, length, number, part, _, _ = PART.unpack_from(stream, place)
        if marker == PART_MARKER:
            found.add(number)
            if part < PART.size:  # 0: the last part, to the end
                break
            place += part
        elif found or length < 2:
            break
        else:
            place += 2 + length
    return found
