"""One file's header: the tags that grouping, checking and referencing need, and how many pixel bytes follow.

Nothing here decodes pixels. Patient identity is read because the RTSTRUCT must carry it; it is never put in a message.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import pydicom
from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset

from oarseg.dicom.guards.deflated import DEFLATED, MOST_INFLATED, PREAMBLE, inflates_beyond
from oarseg.errors import InputError
from oarseg.process import without_warnings

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
ENHANCED_CT = ("1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2")
DICOMDIR = "1.2.840.10008.1.3.10"
UNDEFINED_LENGTH = 0xFFFFFFFF
_BIG_ENDIAN = "1.2.840.10008.1.2.2"
_IMPLICIT = "1.2.840.10008.1.2"

# Copied from the CT into the RTSTRUCT (patient, study, frame of reference).
REFERENCE_TAGS = (
    "SpecificCharacterSet", "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex",
    "PatientIdentityRemoved", "DeidentificationMethod", "DeidentificationMethodCodeSequence",
    "StudyInstanceUID", "StudyDate", "StudyTime", "StudyID",
    "StudyDescription", "AccessionNumber", "ReferringPhysicianName", "PatientAge", "PatientSize", "PatientWeight",
    "FrameOfReferenceUID", "PositionReferenceIndicator", "SeriesInstanceUID", "SeriesNumber", "SeriesDescription",
)  # fmt: skip
_IMAGE_TAGS = (
    "SOPClassUID", "SOPInstanceUID", "Modality", "ImageType", "InstanceNumber", "AcquisitionNumber", "PatientPosition",
    "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "GantryDetectorTilt",
    "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "BitsStored",
    "PixelRepresentation", "PixelPaddingValue", "PixelPaddingRangeLimit", "RescaleSlope", "RescaleIntercept",
    "RescaleType",
)  # fmt: skip
TAGS = list(REFERENCE_TAGS + _IMAGE_TAGS)


@dataclass(frozen=True)
class Header:
    """What the header of one DICOM file says.

    ``dataset``: only the tags of ``TAGS``, left out of the representation because it names the patient.
    ``pixel_length``: bytes that the PixelData element claims, ``UNDEFINED_LENGTH`` where compressed or
    deflated, None without PixelData. ``bytes_left``: bytes in the file from the start of the pixel value on; not
    positive where the file ends within or right after the header. ``pixel_start``: where in the file the pixel value
    begins; None where that is not known (deflated, no PixelData).
    """

    path: Path
    dataset: Dataset = field(repr=False)
    transfer_syntax: str
    pixel_length: int | None
    bytes_left: int
    pixel_start: int | None = None

    def text(self, keyword: str, default: str = "") -> str:
        """Return a single value as stripped text; ``default`` where absent or empty."""
        value = self.dataset.get(keyword)
        # What should be one value may have any number of them, none included.
        empty = value is None or (hasattr(value, "__len__") and len(value) == 0)
        return default if empty else str(value).strip() or default

    def numbers(self, keyword: str, count: int) -> tuple[float, ...] | None:
        """Return exactly ``count`` finite numbers; None where the tag is absent or empty.

        Raises InputError where the tag holds something else.
        """
        try:
            value = self.dataset.get(keyword)
            if value is None or value == "":
                return None
            listed = [value] if isinstance(value, (int, float, str)) or not hasattr(value, "__len__") else list(value)
            numbers = tuple(float(v) for v in listed)
        except (ValueError, TypeError, OverflowError, ArithmeticError) as error:
            raise InputError(f"{self.path.name}: {keyword} is not numeric; export the series again") from error
        if not numbers:
            return None
        # NaN and infinity fail the comparison.
        if len(numbers) != count or not all(abs(n) < 1e9 for n in numbers):
            raise InputError(f"{self.path.name}: {keyword} is {list(numbers)}, expected {count} finite number(s)")
        return numbers

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns, which the header must have."""
        rows, columns = (int(self.numbers(keyword, 1)[0]) for keyword in ("Rows", "Columns"))
        return rows, columns

    @property
    def is_ct(self) -> bool:
        """Whether this is a classic (one slice a file) CT image."""
        return self.text("SOPClassUID") == CT_IMAGE and self.text("Modality", "CT") == "CT"

    @property
    def is_localizer(self) -> bool:
        """Whether this is a scout view, which projects the patient and so is no slice of the volume."""
        image_type = self.dataset.get("ImageType") or ()
        # With another VR than it should have, a single value may be anything.
        several = isinstance(image_type, Sequence) and not isinstance(image_type, str)
        values = list(image_type) if several else [image_type]
        return any(str(v).upper() in ("LOCALIZER", "SCOUT", "TOPOGRAM") for v in values)


@dataclass(frozen=True)
class Unreadable:
    """A file that gives no usable header. ``suspect``: it may be a slice of the CT."""

    path: Path
    reason: str
    suspect: bool


def read_header(path: Path) -> Header | Unreadable:
    """Read the header of one file, skipping everything not in ``TAGS``; no error is raised for a bad file."""
    try:
        with path.open("rb") as file:
            mark = file.read(PREAMBLE + 4)
            if mark[PREAMBLE:] != b"DICM":
                return Unreadable(path, _why_not_dicom(mark), False)
            file.seek(0)
            if inflates_beyond(file):
                return Unreadable(path, f"deflated, of more than {MOST_INFLATED >> 20} MiB", True)
            return _parse(path, file)
    except OSError as error:
        # pydicom reports a file meta group that is cut as OSError too, without errno.
        if error.errno is None:
            return Unreadable(path, "cut short within the header", True)
        return Unreadable(path, f"cannot be opened ({error.strerror})", True)
    except Exception as error:  # noqa: BLE001 - a damaged header makes pydicom raise nearly anything
        return Unreadable(path, f"damaged header ({type(error).__name__})", True)


def _parse(path: Path, file: BinaryIO) -> Header | Unreadable:
    with without_warnings():
        dataset = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=TAGS)
        _drop_unreadable(dataset)
    end, size = file.tell(), os.fstat(file.fileno()).st_size
    syntax = str(dataset.file_meta.get("TransferSyntaxUID", "")) or _IMPLICIT
    sop_class = str(dataset.file_meta.get("MediaStorageSOPClassUID", ""))
    if not dataset.get("SeriesInstanceUID") and sop_class != DICOMDIR:
        reason = "cut short within the header" if end >= size else "no SeriesInstanceUID"
        return Unreadable(path, reason, sop_class in ("", CT_IMAGE))
    if syntax == DEFLATED:
        # pydicom inflated the whole file in memory: positions in it say nothing of the pixels.
        return Header(path, dataset, syntax, UNDEFINED_LENGTH, size)
    file.seek(end)
    length, skipped = _pixel_element(file.read(12), syntax)
    start = None if length is None else end + skipped
    return Header(path, dataset, syntax, length, size - end - skipped, start)


def _drop_unreadable(dataset: Dataset) -> None:
    """Take out elements whose value cannot be decoded; whoever needs one reports it as missing or unreadable.

    So is a sequence where there should be none, and one of which an inner value cannot be decoded.
    """
    for tag in list(dataset.keys()):
        try:
            element = dataset[tag]  # decodes the value
            if element.VR == "SQ":
                if dictionary_VR(tag) != "SQ":
                    raise ValueError("a sequence")
                for item in element.value:
                    list(item.iterall())
        except Exception:  # noqa: BLE001 - letters in a number, an unknown VR, ...: pydicom has no common error
            del dataset[tag]


def _pixel_element(start: bytes, syntax: str) -> tuple[int | None, int]:
    """Return the claimed length of PixelData and the bytes before its value, from the element's first 12 bytes."""
    order = "big" if syntax == _BIG_ENDIAN else "little"
    group, element = int.from_bytes(start[:2], order), int.from_bytes(start[2:4], order)
    if (group, element) != (0x7FE0, 0x0010):
        return None, 0
    if syntax == _IMPLICIT:
        return int.from_bytes(start[4:8], order), 8
    return int.from_bytes(start[8:12], order), 12


def _why_not_dicom(mark: bytes) -> str:
    if not mark:
        return "empty file"
    if mark[:2] in (b"\x08\x00", b"\x02\x00") and mark[3:4] == b"\x00":
        return 'perhaps DICOM, but without the "DICM" mark (convert it, for instance with dcmconv)'
    return "not DICOM"
