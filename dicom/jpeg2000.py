"""JPEG 2000 by Pillow, which decodes several slices at a time; the decoder that pydicom uses takes one after another.

Pillow fills 16 bits: it shifts the values of fewer bits to the left and makes signed ones positive, which is undone
here. What it gives is compared with pydicom's for the first slice of a series, and not used where it differs.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence

import numpy as np
import pydicom
from pydicom import encaps

from oarseg.dicom.header import Header

SYNTAXES = ("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91", "1.2.840.10008.1.2.4.201",
            "1.2.840.10008.1.2.4.202", "1.2.840.10008.1.2.4.203")  # fmt: skip
# JPEG 2000 proper, of which the codestream's header is read below.
DECODED = SYNTAXES[:2]
# Stored values (rows, columns), or None where it is left to pydicom.
Decoder = Callable[[Header], np.ndarray | None]
START = b"\xff\x4f\xff\x51"
# Of the SIZ segment (ISO/IEC 15444-1, A.5.1), counted from the start of the codestream: number of components; sign and
# bits of the first one.
COMPONENTS, DEPTH = slice(40, 42), 42


def quick_decoder(slices: Sequence[Header]) -> Decoder | None:
    """What decodes the slices of a series by several threads; None where there is no such."""
    first = slices[0]
    if any(header.transfer_syntax not in DECODED for header in slices):
        return None
    try:
        expected = pydicom.dcmread(first.path).pixel_array
        found = decode(first)
    except Exception:  # noqa: BLE001 - the file is damaged, or something is not installed: pydicom's path tells which
        return None
    same = found is not None and found.dtype == expected.dtype and np.array_equal(found, expected)
    return decode if same else None


def decode(header: Header) -> np.ndarray | None:
    """The stored values of one slice; None where it is not 9 to 16 bits of grey, or damaged."""
    from PIL import Image

    try:
        stream = _codestream(pydicom.dcmread(header.path).PixelData)
        if stream[:4] != START or stream[COMPONENTS] != b"\x00\x01":
            return None
        signed, bits = bool(stream[DEPTH] & 0x80), (stream[DEPTH] & 0x7F) + 1
        if not 9 <= bits <= 16 or signed != (header.text("PixelRepresentation") == "1"):
            return None
        with Image.open(io.BytesIO(stream)) as image:
            if image.size != (int(header.text("Columns")), int(header.text("Rows"))) or image.mode != "I;16":
                return None
            values = np.array(image, dtype=np.uint16) >> (16 - bits)
    except (OSError, ValueError, IndexError, StopIteration, AttributeError, Image.DecompressionBombError):
        return None
    return (values.astype(np.int32) - (1 << (bits - 1))).astype(np.int16) if signed else values


def _codestream(pixel_data: bytes) -> bytes:
    """The only frame of encapsulated pixel data. Raises ValueError or StopIteration where there is none."""
    if hasattr(encaps, "generate_frames"):
        return next(encaps.generate_frames(pixel_data, number_of_frames=1))
    return next(encaps.generate_pixel_data_frame(pixel_data, 1))  # pydicom 2
