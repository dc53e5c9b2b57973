"""JPEG 2000: the header of a slice's compressed image and its tiles, read before a decoder is given it."""

from __future__ import annotations

import struct

from oarseg.dicom.guards.frame import check_size, cut_short
from oarseg.dicom.read.header import Header
from oarseg.errors import InputError

SYNTAXES = ("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91", "1.2.840.10008.1.2.4.201",
            "1.2.840.10008.1.2.4.202", "1.2.840.10008.1.2.4.203")  # fmt: skip
START = b"\xff\x4f\xff\x51"
# Of the SIZ segment (ISO/IEC 15444-1, A.5.1), counted from the start of the codestream: width and height, the offsets
# that they begin at, and the same of tiles; number of components.
SIZES, COMPONENTS = struct.Struct(">LLLLLLLL"), slice(40, 42)
SIZES_AT, MOST_TILES = 8, 1024
# A tile's part (A.4.2): marker, length of this segment, number of the tile, length of the part, its number, how many.
PART, PART_MARKER = struct.Struct(">HHHLBB"), 0xFF90


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
