"""Masks -> a DICOM RT Structure Set that refers to the CT series slice by slice.

Follows the RT Structure Set IOD (DICOM PS3.3 A.19): patient, study, frame of reference and character set are those of
the CT; series, equipment and instance are new.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid

from oarseg import __version__
from oarseg.dicom.read.header import REFERENCE_TAGS
from oarseg.dicom.read.series import CtGrid, SliceInstance
from oarseg.dicom.write.contours import Contour, Index, mask_contours
from oarseg.dicom.write.save import Written, add_file_meta, save_whole
from oarseg.errors import GeometryError, InputError, OutputError

RTSTRUCT_CLASS = "1.2.840.10008.5.1.4.1.1.481.3"
# Retired study class: still what planning systems write and expect in RTReferencedStudySequence.
STUDY_CLASS = "1.2.840.10008.3.1.2.3.1"
MANUFACTURER = "oarseg"
LABEL = "oarseg"
DISCLAIMER = "research use only, not a medical device"
ROI_TYPE = "ORGAN"
SERIES_NUMBER = 900
SHORT, LONG = 16, 64
EXPLICIT_VR_BYTES = 65534
CONTOUR_DATA = Tag(0x3006, 0x0050)
_OF_THE_SERIES = ("SeriesInstanceUID", "SeriesNumber", "SeriesDescription")
# Required by the standard, though possibly empty: of patient and study, and of a structure set.
TYPE_2 = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID",
    "AccessionNumber", "ReferringPhysicianName",
)  # fmt: skip
_TYPE_2_HERE = ("OperatorsName", "PositionReferenceIndicator")


class ClosedContour(StrEnum):
    """The ContourGeometricTypes that enclose an area (DICOM PS3.3 C.8.8.6.1)."""

    PLANAR = "CLOSED_PLANAR"
    PLANAR_XOR = "CLOSEDPLANAR_XOR"


@dataclass(frozen=True, eq=False)
class Roi:
    """One organ to write.

    ``name``: TG-263. ``color``: red, green, blue, 0 to 255. ``mask``: (slices, rows, columns), non-zero inside, of the
    whole CT, or of a part of it that begins at the index ``start``.
    """

    name: str
    color: tuple[int, int, int]
    mask: np.ndarray
    description: str = ""
    start: Index | None = None


class _Drawn(NamedTuple):
    """A contour as it is written."""

    slice_index: int
    points: int
    text: bytes


# The name of what :func:`write_rtstruct` returns.
StructureSet = Written


def write_rtstruct(
    path: str | Path,
    grid: CtGrid,
    rois: Iterable[Roi],
    label: str = LABEL,
    series_description: str = "",
    series_number: int = SERIES_NUMBER,
) -> StructureSet:
    """Write one RTSTRUCT file and return what it holds.

    Args:
        path: the file; its folder must exist.
        grid: of the CT that the masks belong to (a CtVolume is one).
        rois: consumed one at a time, so a generator keeps one mask in memory.
        label: StructureSetLabel, at most 16 characters.
        series_description, series_number: of the new series; a statement that it is for research follows the former.
    Raises GeometryError (the CT has no FrameOfReferenceUID, which is never invented; a mask of another shape),
    InputError (a name or colour that cannot be written, a name twice) or OutputError (every ROI is empty; the file
    cannot be written, in which case nothing is left behind).
    """
    check_frame(grid)
    kept, left_out = _contoured(rois, grid)
    if not kept:
        raise OutputError(f"no RTSTRUCT written: all ROIs are empty ({', '.join(left_out) or 'none given'})")
    dataset = _structure_set(grid, label, _transfer_syntax(kept))
    dataset.SeriesDescription = described(series_description.strip())
    dataset.SeriesNumber = series_number
    dataset.StructureSetROISequence = Sequence()
    dataset.ROIContourSequence = Sequence()
    dataset.RTROIObservationsSequence = Sequence()
    for number, (roi, contours) in enumerate(kept, 1):
        _add_roi(dataset, number, roi, contours, grid)
    save_whole(dataset, Path(path))
    names = tuple(roi.name for roi, _ in kept)
    return StructureSet(Path(path), dataset.SOPInstanceUID, dataset.SeriesInstanceUID, names, tuple(left_out))


def check_frame(grid: CtGrid) -> None:
    """Raise GeometryError where the CT has no frame of reference that a result could be tied to."""
    if not grid.frame_of_reference_uid:
        raise GeometryError(
            "the CT has no FrameOfReferenceUID, so contours cannot be tied to it; export the CT again with it "
            "(one is not invented: the planning system could not match it)"
        )


def described(text: str) -> str:
    """Return the series description; a text too long to stand before the statement gives way to it."""
    full = f"{text or MANUFACTURER}: {DISCLAIMER}"
    return full if len(full) <= LONG else f"{MANUFACTURER}: {DISCLAIMER}"


def _contoured(rois: Iterable[Roi], grid: CtGrid) -> tuple[list[tuple[Roi, list[_Drawn]]], list[str]]:
    kept: list[tuple[Roi, list[_Drawn]]] = []
    left_out: list[str] = []
    seen: set[str] = set()
    for roi in rois:
        _check_roi(roi, seen)
        contours = mask_contours(roi.mask, grid, roi.start)
        if contours:
            # The mask is let go here: only the contours are needed on.
            drawn = [_Drawn(c.slice_index, len(c.points), contour_text(c)) for c in contours]
            kept.append((Roi(roi.name, roi.color, np.empty(0), roi.description), drawn))
        else:
            left_out.append(roi.name)
    return kept, left_out


def _check_roi(roi: Roi, seen: set[str]) -> None:
    check_name("ROI", roi.name, seen)
    if len(roi.color) != 3 or not all(0 <= int(c) <= 255 for c in roi.color):
        raise InputError(f"ROI {roi.name!r}: colour {roi.color}, expected three numbers from 0 to 255")


def check_name(what: str, name: str, seen: set[str]) -> None:
    """Add a name to those ``seen``. Raises InputError where it cannot be written, or is there already."""
    if not name.strip() or len(name) > LONG or "\\" in name or not name.isascii() or not name.isprintable():
        raise InputError(f"{what} name {name!r}: expected 1 to {LONG} printable ASCII characters without backslash")
    if name in seen:
        raise InputError(f"{what} name {name!r} is given twice; expected each organ once")
    seen.add(name)


def copy_study(dataset: Dataset, grid: CtGrid) -> None:
    """Give ``dataset`` patient, study and frame of reference as the CT has them, odd values too."""
    for keyword in REFERENCE_TAGS:
        if keyword in grid.header and keyword not in _OF_THE_SERIES:
            dataset.add(grid.header[keyword])


def _structure_set(grid: CtGrid, label: str, syntax: UID) -> Dataset:
    now = datetime.now()
    date, time = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    dataset = Dataset()
    for keyword in (*TYPE_2, *_TYPE_2_HERE):
        setattr(dataset, keyword, "")
    copy_study(dataset, grid)
    dataset.SOPClassUID = RTSTRUCT_CLASS
    dataset.SOPInstanceUID = generate_uid()
    dataset.SeriesInstanceUID = generate_uid()
    dataset.Modality = "RTSTRUCT"
    dataset.InstanceNumber = 1
    dataset.Manufacturer = dataset.ManufacturerModelName = MANUFACTURER
    dataset.SoftwareVersions = __version__
    dataset.InstanceCreationDate = dataset.SeriesDate = dataset.StructureSetDate = date
    dataset.InstanceCreationTime = dataset.SeriesTime = dataset.StructureSetTime = time
    dataset.StructureSetLabel = label[:SHORT]
    dataset.StructureSetDescription = f"Contoured automatically by {MANUFACTURER} {__version__}: {DISCLAIMER}"
    dataset.ApprovalStatus = "UNAPPROVED"
    dataset.ReferencedFrameOfReferenceSequence = Sequence([_frame(grid)])
    add_file_meta(dataset, syntax)
    return dataset


def _frame(grid: CtGrid) -> Dataset:
    """Return the item of frame of reference -> study -> series -> all slices of the CT, whether contoured or not."""
    images = Sequence(_image(i) for i in grid.instances)
    study = _item(
        ReferencedSOPClassUID=STUDY_CLASS,
        ReferencedSOPInstanceUID=grid.header.StudyInstanceUID,
        RTReferencedSeriesSequence=Sequence([_item(SeriesInstanceUID=grid.series_uid, ContourImageSequence=images)]),
    )
    return _item(FrameOfReferenceUID=grid.frame_of_reference_uid, RTReferencedStudySequence=Sequence([study]))


def _image(instance: SliceInstance) -> Dataset:
    return _item(ReferencedSOPClassUID=instance.sop_class_uid, ReferencedSOPInstanceUID=instance.sop_instance_uid)


def _item(**elements: Any) -> Dataset:
    """Return an item of a sequence with these elements, by keyword."""
    item = Dataset()
    for keyword, value in elements.items():
        setattr(item, keyword, value)
    return item


def _add_roi(dataset: Dataset, number: int, roi: Roi, contours: list[_Drawn], grid: CtGrid) -> None:
    described = {"ROIDescription": roi.description[:1024]} if roi.description else {}
    structure = _item(
        ROINumber=number,
        ReferencedFrameOfReferenceUID=grid.frame_of_reference_uid,
        ROIName=roi.name,
        **described,
        ROIGenerationAlgorithm="AUTOMATIC",
        ROIGenerationDescription=f"{MANUFACTURER} {__version__}",
    )
    dataset.StructureSetROISequence.append(structure)
    syntax = dataset.file_meta.TransferSyntaxUID
    drawn = Sequence(_contour(i, c, grid, syntax) for i, c in enumerate(contours, 1))
    color = [int(c) for c in roi.color]
    dataset.ROIContourSequence.append(_item(ROIDisplayColor=color, ContourSequence=drawn, ReferencedROINumber=number))
    observation = _item(
        ObservationNumber=number,
        ReferencedROINumber=number,
        ROIObservationLabel=roi.name[:SHORT],
        RTROIInterpretedType=ROI_TYPE,
        ROIInterpreter="",
    )
    dataset.RTROIObservationsSequence.append(observation)


def _contour(number: int, contour: _Drawn, grid: CtGrid, syntax: UID) -> Dataset:
    item = Dataset()
    if hasattr(item, "set_original_encoding"):
        # Else pydicom 3 takes what is encoded already for encoded in another way, and decodes and encodes it again.
        item.set_original_encoding(syntax.is_implicit_VR, syntax.is_little_endian, None)
    item.ContourNumber = number
    item.ContourImageSequence = Sequence([_image(grid.instances[contour.slice_index])])
    item.ContourGeometricType = ClosedContour.PLANAR.value
    item.NumberOfContourPoints, text = contour.points, contour.text
    # As encoded bytes: pydicom checks each number of a list in turn, which takes longer than finding the contours.
    item[CONTOUR_DATA] = RawDataElement(CONTOUR_DATA, "DS", len(text), text, 0, False, True)
    return item


def contour_text(contour: Contour) -> bytes:
    """Return the points as a DS value of even length: x, y, z of each in turn, parted by backslashes.

    A float rounded to ``DECIMALS`` prints in its shortest exact form, without exponent and within 16 characters.
    """
    text = "\\".join(map(repr, contour.points.ravel().tolist())).encode("ascii")
    return text + b" " * (len(text) % 2)


def _transfer_syntax(kept: list[tuple[Roi, list[_Drawn]]]) -> UID:
    """Return explicit VR, unless a contour is longer than explicit VR can count.

    Its DS length has 16 bits. What is longer would have to be written as VR UN, which planning systems do not take for
    a contour; implicit VR has 32 bits.
    """
    longest = max(len(c.text) for _, contours in kept for c in contours)
    return ExplicitVRLittleEndian if longest <= EXPLICIT_VR_BYTES else ImplicitVRLittleEndian
