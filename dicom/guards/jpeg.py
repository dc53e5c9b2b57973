"""JPEG and JPEG-LS: the headers of a slice's compressed image, read before a decoder is given it."""

from __future__ import annotations

import struct

from oarseg.dicom.guards.frame import check_size, cut_short, damaged
from oarseg.dicom.read.header import Header
from oarseg.errors import InputError

EXTENDED = "1.2.840.10008.1.2.4.51"
LS = ("1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81")
SYNTAXES = ("1.2.840.10008.1.2.4.50", EXTENDED, "1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70", *LS)
START, END = b"\xff\xd8", b"\xff\xd9"
# Start of frame (ITU-T T.81, table B.1; of JPEG-LS ITU-T T.87, C.1.1).
LS_FRAME = 0xF7
FRAMES = frozenset({*range(0xC0, 0xD0), LS_FRAME} - {0xC4, 0xC8, 0xCC})
# The only others before the first scan: tables, restart interval, applications' data, comments; each has a length. A
# decoder that leaves out another one would see another frame header than this file does.
BEFORE = frozenset({0xC4, 0xCC, 0xDB, 0xDD, *range(0xE0, 0xF0), 0xF8, 0xFE})
SCAN, SCANS = 0xDA, 64
# Bytes at the end of a stream within which its end is looked for: encoders pad to an even length, or a little more.
MOST_PADDING = 64
# Length, bits of a sample, height, width, components.
FRAME = struct.Struct(">HBHHB")


def check_stream(stream: bytes, header: Header) -> None:
    """Raise InputError where an image has another size than the header says, or fewer bits than its signed values."""
    if not stream.startswith(START):
        raise InputError(f"{header.path.name}: the compressed pixel data are no JPEG; export the CT again")
    if stream.count(bytes([0xFF, SCAN])) > SCANS:
        # A progressive image has some ten. Each is decoded into the whole image.
        raise damaged(header)
    place, seen = len(START), False
    while True:
        # Any number of bytes FF may come before a marker.
        while stream[place : place + 2] == b"\xff\xff":
            place += 1
        if len(stream) < place + 2 + FRAME.size:
            raise cut_short(header)
        marker = stream[place + 1]
        length, bits, height, width, components = FRAME.unpack_from(stream, place + 2)
        if stream[place] == 0xFF and marker == SCAN and seen:
            return
        if stream[place] == 0xFF and marker in FRAMES and not seen:
            check_size(header, width, height, components)
            _check_sign(header, bits)
            if marker == LS_FRAME and END not in stream[-MOST_PADDING:]:
                # CharLS never takes such a stream, and may be at work for ten seconds before it says so.
                raise cut_short(header)
            seen = True
        elif stream[place] != 0xFF or marker not in BEFORE or length < 2:
            raise damaged(header)
        place += 2 + length


def _check_sign(header: Header, bits: int) -> None:
    """Refuse signed values whose sign bit is not certain: JPEG has no sign, so it is the highest bit in use."""
    stored = header.text("BitsStored")
    if header.text("PixelRepresentation") == "1" and stored.isdecimal() and bits < int(stored):
        raise InputError(
            f"{header.path.name}: the compressed image has {bits} bits, its signed values {stored}; export the CT again"
        )
