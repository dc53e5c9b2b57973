"""A label map -> a DICOM Segmentation that refers to the CT series slice by slice, through highdicom.

Follows the Segmentation IOD (DICOM PS3.3 A.51): one binary segment an organ, with the SNOMED CT codes of the organ
table. Patient, study and frame of reference are those of the CT; series, equipment and instance are new.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from pydicom.valuerep import format_number_as_ds

from oarseg import __version__
from oarseg.dicom.read.series import CtGrid
from oarseg.dicom.write.rtstruct import (
    DISCLAIMER,
    LONG,
    MANUFACTURER,
    TYPE_2,
    check_frame,
    check_name,
    copy_study,
    described,
)
from oarseg.dicom.write.save import Written, save_whole
from oarseg.errors import GeometryError, InputError, OutputError
from oarseg.requires import require
from oarseg.sites.codes import SegmentCodes

SERIES_NUMBER = 901
# Content Label is a code string: capitals.
LABEL = "OARSEG"
# DICOM needs a serial number of the equipment; software has none.
NO_SERIAL = "none"


@dataclass(frozen=True)
class Segment:
    """One organ to write: its ``value`` in the label map, TG-263 ``name``, ``color`` (RGB, 0 to 255) and ``codes``."""

    value: int
    name: str
    color: tuple[int, int, int]
    codes: SegmentCodes


# The name of what :func:`write_seg` returns.
Segmented = Written


def check_available() -> None:
    """Raise ConfigError where highdicom is not installed; does not import it."""
    require("a DICOM SEG", "highdicom")


def write_seg(
    path: str | Path,
    grid: CtGrid,
    label: np.ndarray,
    segments: Sequence[Segment],
    series_description: str = "",
    series_number: int = SERIES_NUMBER,
) -> Segmented:
    """Write one DICOM SEG file and return what it holds.

    Args:
        path: the file; its folder must exist.
        grid: of the CT that the label map belongs to.
        label: (slices, rows, columns), whole numbers.
        segments: numbered in their order in the file, without those that have no voxel.
        series_description, series_number: of the new series; a statement that it is for research follows the former.
    Raises ConfigError (highdicom is not installed), GeometryError (the CT has no FrameOfReferenceUID; a label map of
    another shape), InputError (a name or value twice, or a name that cannot be written) or OutputError (no segment has
    a voxel; the file cannot be written, in which case nothing is left behind).
    """
    check_frame(grid)
    if tuple(label.shape) != tuple(grid.shape):
        raise GeometryError(f"the label map has {tuple(label.shape)} voxels, the CT {tuple(grid.shape)}")
    _check(segments)
    kept, numbered = _numbered(label, segments)
    left_out = tuple(segment.name for segment in segments if segment not in kept)
    if not kept:
        raise OutputError(f"no DICOM SEG written: no voxel of {', '.join(left_out) or 'any organ'}")
    try:
        description = described(series_description.strip())
        dataset = _dataset(_highdicom(), grid, numbered, kept, description, series_number)
    except (ValueError, TypeError, AttributeError) as error:
        raise OutputError(f"no DICOM SEG written: highdicom refuses the CT ({type(error).__name__})") from error
    # Not before: highdicom would refuse what other programs wrote (character sets, dates, sexes).
    copy_study(dataset, grid)
    save_whole(dataset, Path(path))
    written = tuple(segment.name for segment in kept)
    return Segmented(Path(path), dataset.SOPInstanceUID, dataset.SeriesInstanceUID, written, left_out)


def _highdicom() -> ModuleType:
    check_available()
    import highdicom

    return highdicom


def _check(segments: Sequence[Segment]) -> None:
    names: set[str] = set()
    values: set[int] = set()
    for segment in segments:
        check_name("segment", segment.name, names)
        if segment.value < 1 or segment.value in values:
            raise InputError(f"segment {segment.name!r}: value {segment.value}, expected 1 or more, each organ its own")
        values.add(segment.value)


def _numbered(label: np.ndarray, segments: Sequence[Segment]) -> tuple[list[Segment], np.ndarray]:
    """Return the segments that have a voxel, and the label map with their places in that list, from 1; all else 0."""
    there = set(np.unique(label).tolist())
    kept = [segment for segment in segments if segment.value in there]
    numbers = np.zeros(max([0, *there]) + 1, np.uint8)
    for number, segment in enumerate(kept, 1):
        numbers[segment.value] = number
    return kept, numbers[label]


def _dataset(
    highdicom: ModuleType, grid: CtGrid, numbered: np.ndarray, kept: Sequence[Segment], description: str, number: int
) -> Dataset:
    return highdicom.seg.Segmentation(
        source_images=_slices(grid),
        pixel_array=numbered,
        segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[_description(highdicom, i, segment) for i, segment in enumerate(kept, 1)],
        series_instance_uid=generate_uid(),
        series_number=number,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=MANUFACTURER,
        software_versions=__version__,
        device_serial_number=NO_SERIAL,
        content_label=LABEL,
        content_description=f"{MANUFACTURER} {__version__}: {DISCLAIMER}"[:LONG],
        series_description=description,
    )


def _slices(grid: CtGrid) -> list[Dataset]:
    """Return the CT's slices as highdicom takes them: headers, in index order."""
    orientation = [*grid.row_direction, *grid.column_direction]
    shared = Dataset()
    for keyword in TYPE_2:
        setattr(shared, keyword, "")
    shared.StudyInstanceUID, shared.SeriesInstanceUID = grid.header.StudyInstanceUID, grid.series_uid
    shared.FrameOfReferenceUID = grid.frame_of_reference_uid
    shared.Modality = "CT"
    shared.Rows, shared.Columns = grid.shape[1:]
    shared.ImageOrientationPatient = [format_number_as_ds(value) for value in orientation]
    shared.PixelSpacing = [format_number_as_ds(value) for value in grid.spacing_mm[1:]]
    shared.SliceThickness = format_number_as_ds(grid.spacing_mm[0])
    slices = []
    for instance in grid.instances:
        one = Dataset()
        one.update(shared)
        one.SOPClassUID, one.SOPInstanceUID = instance.sop_class_uid, instance.sop_instance_uid
        one.ImagePositionPatient = [format_number_as_ds(value) for value in instance.position]
        slices.append(one)
    return slices


def _description(highdicom: ModuleType, number: int, segment: Segment) -> Any:
    from pydicom.sr.codedict import codes
    from pydicom.sr.coding import Code

    def code(one: Any) -> Code:
        return Code(one.value, one.scheme, one.meaning)

    described = highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=segment.name,
        segmented_property_category=code(segment.codes.category),
        segmented_property_type=code(segment.codes.property_type),
        algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=highdicom.AlgorithmIdentificationSequence(
            name=MANUFACTURER, version=__version__, family=codes.DCM.ArtificialIntelligence
        ),
        tracking_uid=generate_uid(),
        tracking_id=segment.name,
        display_color=highdicom.color.CIELabColor.from_rgb(*segment.color),
    )
    if segment.codes.modifier is not None:
        modifier = highdicom.sr.CodedConcept.from_code(code(segment.codes.modifier))
        described.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [modifier]
    return described
