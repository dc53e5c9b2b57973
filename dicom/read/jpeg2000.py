"""JPEG 2000 by Pillow, which decodes several slices at a time; the decoder that pydicom uses takes one after another.

Pillow fills 16 bits: it shifts the values of fewer bits to the left and makes signed ones positive, which is undone
here. What it gives is compared with pydicom's for the first slice of a series, and not used where it differs.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence

import numpy as np
import pydicom

from oarseg.dicom.guards.jpeg2000 import COMPONENTS, START, SYNTAXES
from oarseg.dicom.read.decoders import checked_frame
from oarseg.dicom.read.header import Header
from oarseg.errors import InputError

# JPEG 2000 proper, whose codestream begins with its sizes.
DECODED = SYNTAXES[:2]
# Stored values (rows, columns), or None where it is left to pydicom.
Decoder = Callable[[Header], np.ndarray | None]
# Where in the codestream sign and bits of the first component are (ISO/IEC 15444-1, A.5.1).
DEPTH = 42


def quick_decoder(slices: Sequence[Header]) -> Decoder | None:
    """Return what decodes the slices of a series in several threads; None where there is no such."""
    first = slices[0]
    if any(header.transfer_syntax not in DECODED for header in slices):
        return None
    try:
        dataset = pydicom.dcmread(first.path)
        checked_frame(dataset, first)
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
        stream = checked_frame(pydicom.dcmread(header.path), header)
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
