"""Small synthetic CT series in any orientation, with a phantom that differs left, right, front, back, up and down."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from oarseg.dicom.write.save import save_whole

CT_CLASS = "1.2.840.10008.5.1.4.1.1.2"
# Patient mm, LPS: the middle of the scan, and a dense ball 14 mm left, 9 mm in front and 6 mm above of it.
CENTER = np.array([12.5, -30.0, -105.0])
MARKER = CENTER + [14.0, -9.0, 6.0]
MARKER_HU = 1200
PATIENT_NAME = "Secret^Patient"

# Row cosine (direction in which columns count) and column cosine, LPS.
ORIENTATIONS = {
    "HFS": (1, 0, 0, 0, 1, 0),
    "HFP": (-1, 0, 0, 0, -1, 0),
    "FFS": (-1, 0, 0, 0, 1, 0),
    "FFP": (1, 0, 0, 0, -1, 0),
    "HFDR": (0, 1, 0, -1, 0, 0),
    "HFDL": (0, -1, 0, 1, 0, 0),
    "sagittal": (0, 1, 0, 0, 0, -1),
    "coronal": (1, 0, 0, 0, 0, -1),
    "oblique": (0.951251, 0.254887, 0.173648, -0.300578, 0.892302, 0.336824),
}


@dataclass
class Series:
    """A series before it is written: ``slices`` may be changed one by one."""

    slices: list[Dataset]
    shape: tuple[int, int, int]

    def write(self, folder: Path) -> Path:
        """Write the slices in an order and under names that say nothing of their position."""
        folder.mkdir(parents=True, exist_ok=True)
        for index in np.random.default_rng(3).permutation(len(self.slices)):
            save_whole(self.slices[index], folder / f"{int(index) * 7919 % 9973:04d}.dcm")
        return folder


def make_series(
    orientation: str = "HFS",
    shape: tuple[int, int, int] = (16, 28, 24),
    spacing: tuple[float, float, float] = (3.0, 1.5, 2.0),
    hu: Callable[[np.ndarray], np.ndarray] | None = None,
    number: int = 4,
    patient: str = "P1",
    center: np.ndarray = CENTER,
) -> Series:
    """A CT series whose middle lies at ``center``. ``hu``: HU of points (..., 3) in LPS mm; the phantom by default."""
    cosines = np.array(ORIENTATIONS[orientation], dtype=float)
    along_row, along_column = cosines[:3], cosines[3:]
    normal = np.cross(along_row, along_column)
    steps = np.stack([normal * spacing[0], along_column * spacing[1], along_row * spacing[2]])
    origin = center - (np.array(shape) - 1) / 2 @ steps
    grid = np.moveaxis(np.indices(shape), 0, -1) @ steps + origin
    values = np.rint((hu or phantom)(grid)).astype(np.int16)
    uids = {k: generate_uid() for k in ("study", "series", "frame")}
    slices = [_slice(values[k], origin + k * steps[0], cosines, spacing, uids, k) for k in range(shape[0])]
    for item in slices:
        item.PatientID = patient
        item.SeriesNumber = number
    return Series(slices, shape)


def phantom(points: np.ndarray) -> np.ndarray:
    """Water around the middle, air outside, one dense ball at ``MARKER``."""
    hu = np.where(np.linalg.norm(points - CENTER, axis=-1) < 22, 20.0, -1000.0)
    hu[np.linalg.norm(points - MARKER, axis=-1) < 5.5] = MARKER_HU
    return hu


def _slice(hu: np.ndarray, position: np.ndarray, cosines: np.ndarray, spacing: tuple, uids: dict, k: int) -> Dataset:
    item = Dataset()
    item.SpecificCharacterSet = "ISO_IR 100"
    item.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    item.SOPClassUID, item.SOPInstanceUID = CT_CLASS, generate_uid()
    item.StudyDate, item.StudyTime, item.StudyID, item.AccessionNumber = "20200131", "101500", "7", "A1"
    item.Modality, item.Manufacturer, item.ReferringPhysicianName = "CT", "Synthetic", ""
    item.SeriesDescription = "planning"
    item.PatientName, item.PatientBirthDate, item.PatientSex = PATIENT_NAME, "19500101", "O"
    item.PatientPosition = "HFS"
    item.StudyInstanceUID, item.SeriesInstanceUID = uids["study"], uids["series"]
    item.FrameOfReferenceUID, item.PositionReferenceIndicator = uids["frame"], ""
    item.InstanceNumber = k + 1
    item.ImagePositionPatient = [f"{v:.6f}" for v in position]
    item.ImageOrientationPatient = [f"{v:.6f}" for v in cosines]
    item.PixelSpacing = [spacing[1], spacing[2]]
    item.SliceThickness = spacing[0]
    item.SamplesPerPixel, item.PhotometricInterpretation = 1, "MONOCHROME2"
    item.Rows, item.Columns = hu.shape
    item.BitsAllocated, item.BitsStored, item.HighBit, item.PixelRepresentation = 16, 16, 15, 1
    item.RescaleSlope, item.RescaleIntercept = 1, -1024
    item.PixelData = (hu.astype(np.int32) + 1024).astype("<i2").tobytes()
    item.file_meta = FileMetaDataset()
    item.file_meta.MediaStorageSOPClassUID = CT_CLASS
    item.file_meta.MediaStorageSOPInstanceUID = item.SOPInstanceUID
    item.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return item
