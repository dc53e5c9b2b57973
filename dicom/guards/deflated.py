"""DICOM files whose data set is deflated as a whole: pydicom inflates it in memory, however large it becomes."""

from __future__ import annotations

import zlib
from typing import BinaryIO

from pydicom.filereader import read_dataset

DEFLATED = "1.2.840.10008.1.2.1.99"
PREAMBLE = 128
# A slice of 4096 x 4096 pixels; half a megabyte of zeros deflated is half a gigabyte, and 64 million empty elements.
MOST_INFLATED = 64 << 20
_CHUNK = 1 << 18


def inflates_beyond(file: BinaryIO) -> bool:
    """Return whether a file with the "DICM" mark is deflated and would inflate to more than ``MOST_INFLATED`` bytes.

    The file's position is where it was. Raises what pydicom raises on damaged meta information.
    """
    before = file.tell()
    file.seek(PREAMBLE + 4)
    try:
        # Meta information is never deflated, and ends where the first element of another group begins.
        meta = read_dataset(file, False, True, stop_when=lambda tag, vr, length: tag >> 16 != 2)  # type: ignore[arg-type]
        return str(meta.get("TransferSyntaxUID", "")) == DEFLATED and _inflated(file) > MOST_INFLATED
    finally:
        file.seek(before)


def _inflated(file: BinaryIO) -> int:
    """Return the bytes that the rest of the file inflates to; counting stops one beyond the bound."""
    inflater, total = zlib.decompressobj(-zlib.MAX_WBITS), 0
    while total <= MOST_INFLATED and not inflater.eof and (chunk := file.read(_CHUNK)):
        try:
            total += len(inflater.decompress(chunk, MOST_INFLATED + 1 - total))
        except zlib.error:
            break  # pydicom says what is wrong
    return total
