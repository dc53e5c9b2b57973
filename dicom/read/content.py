"""What the headers of a series must say before its pixels are worth decoding."""

from __future__ import annotations

from collections.abc import Sequence

from oarseg.dicom.read.header import UNDEFINED_LENGTH, Header
from oarseg.dicom.read.scan import patient_key
from oarseg.errors import InputError

BITS = (8, 16, 32)
_REQUIRED = (
    ("SOPInstanceUID", "an RTSTRUCT must refer to it"),
    ("StudyInstanceUID", "an RTSTRUCT must refer to it"),
    ("Rows", "the image size is unknown"),
    ("Columns", "the image size is unknown"),
    ("BitsAllocated", "the pixels cannot be decoded"),
    ("RescaleSlope", "the pixel values cannot be turned into HU"),
    ("RescaleIntercept", "the pixel values cannot be turned into HU"),
)
_UIDS = ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID")


def check_content(slices: Sequence[Header]) -> tuple[str, ...]:
    """Return warnings about what is odd but usable; refuse what cannot be read as single-frame CT in HU.

    Raises InputError naming the file: required tags missing, a SOPInstanceUID used twice, several patients or
    studies, mixed image size, colour or inverted grey, multi-frame, no PixelData, file cut short.
    """
    for header in slices:
        _check_slice(header)
    _check_unique(slices)
    if len({patient_key(h) for h in slices}) > 1:
        raise InputError("the series mixes slices of several patients; export the series again from the archive")
    if len({h.text("StudyInstanceUID") for h in slices}) > 1:
        raise InputError("the series mixes slices of several studies; export the series again from the archive")
    for header in slices[1:]:
        if _size(header) != _size(slices[0]):
            raise InputError(
                f"the series mixes image sizes: {_size(slices[0])} in {slices[0].path.name}, {_size(header)} in "
                f"{header.path.name} (rows x columns); split the series"
            )
    return tuple(_warnings(slices))


def _check_unique(slices: Sequence[Header]) -> None:
    seen: dict[str, Header] = {}
    for header in slices:
        first = seen.setdefault(header.text("SOPInstanceUID"), header)
        if first is not header:
            raise InputError(
                f"{first.path.name} and {header.path.name} share one SOPInstanceUID but are different slices, so "
                "contours could not tell them apart; export the series again"
            )


def _check_slice(header: Header) -> None:
    name = header.path.name
    if header.pixel_length is None and header.bytes_left <= 0:
        raise InputError(f"{name}: the file ends without pixel data (cut short, or only a header); transfer it again")
    for keyword, why in _REQUIRED:
        if not header.text(keyword):
            raise InputError(f"{name}: {keyword} is missing or unreadable, {why}; export the CT again")
    for keyword in _UIDS:
        if not isinstance(header.dataset.get(keyword) or "", str):
            raise InputError(f"{name}: {keyword} is not one UID; export the CT again")
    photometric = header.text("PhotometricInterpretation", "MONOCHROME2")
    if photometric != "MONOCHROME2" or header.text("SamplesPerPixel", "1") != "1":
        raise InputError(
            f"{name}: PhotometricInterpretation is {photometric} with {header.text('SamplesPerPixel', '1')} sample(s) "
            "a pixel, a CT in HU is MONOCHROME2 with one; give the original CT"
        )
    if header.text("NumberOfFrames", "1") != "1":
        raise InputError(f"{name}: {header.text('NumberOfFrames')} frames in one file; convert to one slice a file")
    if int(header.numbers("BitsAllocated", 1)[0]) not in BITS:
        raise InputError(f"{name}: BitsAllocated is {header.text('BitsAllocated')}, expected one of {BITS}")
    if not header.numbers("RescaleSlope", 1)[0]:
        raise InputError(f"{name}: RescaleSlope is 0, so every pixel would be the same; export the CT again")
    _check_pixels(header)


def _check_pixels(header: Header) -> None:
    name = header.path.name
    rows, columns = _size(header)
    expected = rows * columns * int(header.numbers("BitsAllocated", 1)[0]) // 8
    if header.pixel_length is None:
        raise InputError(f"{name}: there is no PixelData; give the images, not only their headers")
    if header.pixel_length == UNDEFINED_LENGTH:
        # Compressed: whether the stream is whole shows when it is decoded.
        return
    found = min(header.pixel_length, header.bytes_left)
    if found < expected:
        cut = "the file is cut short" if header.bytes_left < header.pixel_length else "PixelData is too short"
        raise InputError(
            f"{name}: {cut}, {max(found, 0)} bytes of pixels for {rows} x {columns} (expected {expected}); "
            "transfer or export it again"
        )


def _size(header: Header) -> tuple[int, int]:
    rows, columns = header.size
    if min(rows, columns) < 2:
        raise InputError(f"{header.path.name}: the image is {rows} x {columns}, expected at least 2 x 2")
    return rows, columns


def _warnings(slices: Sequence[Header]) -> list[str]:
    found = []
    without = sum(1 for h in slices if not h.text("PatientPosition"))
    if without:
        found.append(f"PatientPosition is missing in {without} slice(s); the orientation tags alone place the image")
    if not slices[0].text("FrameOfReferenceUID"):
        found.append("FrameOfReferenceUID is missing; an RTSTRUCT for this CT cannot be written")
    units = {h.text("RescaleType", "HU").upper() for h in slices} - {"HU"}
    if units:
        found.append(f"RescaleType is {', '.join(sorted(units))}, not HU; the values were taken as HU")
    return found
