"""JPEG and JPEG-LS: the frame header of a slice's compressed image, read before a decoder is given it."""

from __future__ import annotations

import struct

from oarseg.dicom.frame import check_size, cut_short, frame_of
from oarseg.dicom.header import Header
from oarseg.errors import InputError

LS = ("1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81")
SYNTAXES = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.57",
            "1.2.840.10008.1.2.4.70", *LS)  # fmt: skip
START = b"\xff\xd8"
# Start of frame (ITU-T T.81, table B.1; of JPEG-LS ITU-T T.87, C.1.1), and start of scan, which comes after it.
FRAMES = frozenset({*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC})
SCAN = 0xDA
# Length, bits of a sample, height, width, components.
FRAME = struct.Struct(">HBHHB")


def check_stream(pixel_data: bytes, header: Header) -> None:
    """Refuse an image of another size than the header's. Raises InputError."""
    stream = frame_of(pixel_data, header)
    if not stream.startswith(START):
        raise InputError(f"{header.path.name}: the compressed pixel data are no JPEG; export the CT again")
    place = len(START)
    while True:
        # Any number of bytes FF may come before a marker.
        while stream[place : place + 2] == b"\xff\xff":
            place += 1
        if len(stream) < place + 2 + FRAME.size:
            raise cut_short(header)
        if stream[place] != 0xFF or stream[place + 1] == SCAN:
            raise InputError(f"{header.path.name}: the compressed pixel data are damaged; transfer the file again")
        length, _, height, width, components = FRAME.unpack_from(stream, place + 2)
        if stream[place + 1] in FRAMES:
            return check_size(header, width, height, components)
        place += 2 + length
