"""The compressed image of a slice: taken out of its wrapping, and held against the header before it is decoded."""

from __future__ import annotations

import math
import struct

from pydicom import encaps
from pydicom.dataset import Dataset

from oarseg.dicom.read.header import Header
from oarseg.errors import InputError

# Tag and length of the first item, the offset table, which has four bytes for each frame, or none.
ITEM, TAG = struct.Struct("<HHL"), (0xFFFE, 0xE000)
# A compressed image is at most as many times as long as a plain one of 16 bits, but for its headers.
LONGEST, HEADERS = 2, 1 << 16


def take_frame(dataset: Dataset, header: Header) -> bytes:
    """Return the compressed image of a slice. ``dataset`` then holds nothing else: what is checked is what is decoded.

    A file may hold several images, and tables that name one of them often; a decoder would take memory for all.
    Raises InputError where there is none, several, or one that is longer than the pixels.
    """
    data = dataset.PixelData
    try:
        *tag, length = ITEM.unpack_from(data)
        if tuple(tag) != TAG:
            raise ValueError("no item")
        frame = _first(data)
    except (ValueError, IndexError, StopIteration, struct.error) as error:
        raise damaged(header) from error
    name = header.path.name
    if max(length // 4, len(dataset.get("ExtendedOffsetTable") or b"") // 8) > 1:
        raise InputError(f"{name}: its table names several compressed images, a CT slice has one; export the CT again")
    if len(frame) > LONGEST * 2 * math.prod(header.size) + HEADERS:
        raise InputError(f"{name}: the compressed image is longer than its pixels; export the CT again")
    for keyword in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths"):
        dataset.pop(keyword, None)
    dataset.PixelData = encaps.encapsulate([frame])
    return frame


def check_size(header: Header, width: int, height: int, components: int) -> None:
    """Raise InputError where a compressed image has another size than the header says.

    A decoder takes memory for what the image claims, and a kilobyte can claim gigabytes.
    """
    if (height, width) != header.size or components != 1:
        raise InputError(
            f"{header.path.name}: the compressed image is {width} x {height} of {components} sample(s), the header "
            f"says {header.size[1]} x {header.size[0]} of one; export the CT again"
        )


def damaged(header: Header) -> InputError:
    """Return the error of a compressed image that makes no sense."""
    return InputError(f"{header.path.name}: the compressed pixel data are damaged; transfer the file again")


def cut_short(header: Header) -> InputError:
    """Return the error of a compressed image without its end."""
    return InputError(f"{header.path.name}: the compressed pixel data are cut short; transfer the file again")


def _first(data: bytes) -> bytes:
    if hasattr(encaps, "generate_frames"):
        return next(encaps.generate_frames(data, number_of_frames=1))
    return next(encaps.generate_pixel_data_frame(data, 1))  # pydicom 2
