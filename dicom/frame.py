"""The compressed image of a slice: taken out of its wrapping, and held against the header before it is decoded."""

from __future__ import annotations

import struct

from pydicom import encaps

from oarseg.dicom.header import Header
from oarseg.errors import InputError


def frame_of(pixel_data: bytes, header: Header) -> bytes:
    """The only frame of encapsulated pixel data. Raises InputError where there is none."""
    try:
        return frame(pixel_data)
    except (ValueError, IndexError, StopIteration, struct.error) as error:
        raise InputError(
            f"{header.path.name}: the compressed pixel data are damaged; transfer the file again"
        ) from error


def frame(pixel_data: bytes) -> bytes:
    """As :func:`frame_of`; raises what pydicom raises."""
    if hasattr(encaps, "generate_frames"):
        return next(encaps.generate_frames(pixel_data, number_of_frames=1))
    return next(encaps.generate_pixel_data_frame(pixel_data, 1))  # pydicom 2


def check_size(header: Header, width: int, height: int, components: int) -> None:
    """Refuse what a compressed image says of itself where the header says something else.

    A decoder takes memory for what the image claims, and a kilobyte can claim gigabytes. Raises InputError.
    """
    size = int(header.numbers("Columns", 1)[0]), int(header.numbers("Rows", 1)[0])
    if (width, height) != size or components != 1:
        raise InputError(
            f"{header.path.name}: the compressed image is {width} x {height} of {components} sample(s), the header "
            f"says {size[0]} x {size[1]} of one; export the CT again"
        )


def cut_short(header: Header) -> InputError:
    return InputError(f"{header.path.name}: the compressed pixel data are cut short; transfer the file again")
