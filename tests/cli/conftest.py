"""A small CT as DICOM and NIfTI, and a pipeline that draws two known organs instead of running networks."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from oarseg.dicom.write.save import save_whole
from oarseg.inference.report.content import measure
from oarseg.sites import load_site

CT_CLASS = "1.2.840.10008.5.1.4.1.1.2"
# Slices, rows, columns; mm. LPS position of the first voxel.
SHAPE, SPACING, ORIGIN = (16, 48, 40), (5.0, 2.0, 2.5), (-50.0, -40.0, 100.0)
SECRETS = ("Secret", "SECRET123", "19331224", "Dr^Hidden")
# LPS mm, lowest and highest voxel centre of what the stand-in finds.
PAROTID_LEFT = ((20.0, -10.0, 130.0), (30.0, 0.0, 150.0))
MANDIBLE = ((-20.0, -30.0, 110.0), (15.0, -20.0, 120.0))


def hu_volume() -> np.ndarray:
    """Air around a body with a bone; int16 (slices, rows, columns)."""
    hu = np.full(SHAPE, -1000, dtype=np.int16)
    hu[1:-1, 6:-6, 5:-5] = 35
    hu[3:6, 10:14, 12:30] = 800
    return hu


def affine_ras() -> np.ndarray:
    """Index (slice, row, column) to RAS mm of the DICOM series."""
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2] = SPACING[0], -SPACING[1], -SPACING[2]
    affine[:, 3] = (-ORIGIN[0], -ORIGIN[1], ORIGIN[2], 1)
    return affine


def _slice(hu: np.ndarray, k: int, uids: dict[str, str]) -> Dataset:
    item = Dataset()
    item.SOPClassUID, item.SOPInstanceUID, item.Modality = CT_CLASS, generate_uid(), "CT"
    item.PatientName, item.PatientID, item.PatientBirthDate = "Secret^Patient", "SECRET123", "19331224"
    item.ReferringPhysicianName, item.PatientSex, item.PatientPosition = "Dr^Hidden", "O", "HFS"
    item.StudyDate, item.StudyTime, item.StudyID, item.AccessionNumber = "20200131", "101500", "7", "A1"
    item.StudyInstanceUID, item.SeriesInstanceUID = uids["study"], uids["series"]
    item.FrameOfReferenceUID, item.SeriesNumber, item.InstanceNumber = uids["frame"], uids["number"], k + 1
    item.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    item.ImagePositionPatient = [ORIGIN[0], ORIGIN[1], ORIGIN[2] + k * SPACING[0]]
    item.ImageOrientationPatient, item.PixelSpacing = [1, 0, 0, 0, 1, 0], [SPACING[1], SPACING[2]]
    item.SliceThickness, item.RescaleSlope, item.RescaleIntercept = SPACING[0], 1, -1024
    item.SamplesPerPixel, item.PhotometricInterpretation = 1, "MONOCHROME2"
    item.Rows, item.Columns = hu.shape
    item.BitsAllocated, item.BitsStored, item.HighBit, item.PixelRepresentation = 16, 16, 15, 1
    item.PixelData = (hu.astype("<i2") + 1024).tobytes()
    item.file_meta = FileMetaDataset()
    item.file_meta.MediaStorageSOPClassUID = CT_CLASS
    item.file_meta.MediaStorageSOPInstanceUID = item.SOPInstanceUID
    item.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return item


@pytest.fixture
def write_ct():
    """Write the CT as a DICOM series into a folder: ``write_ct(folder, number=4, change=lambda slice: None)``."""

    def write(folder: Path, number: int = 4, change=lambda item: None) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        uids = {k: generate_uid() for k in ("study", "series", "frame")} | {"number": str(number)}
        for k, hu in enumerate(hu_volume()):
            item = _slice(hu, k, uids)
            change(item)
            save_whole(item, folder / f"{number}_{k * 7 % 16:02d}.dcm")
        return folder

    return write


@pytest.fixture
def ct_folder(tmp_path: Path, write_ct) -> Path:
    """The CT as a DICOM folder."""
    return write_ct(tmp_path / "ct")


@pytest.fixture
def ct_nifti(tmp_path: Path) -> Path:
    """The same CT as NIfTI, with axes columns, rows, slices."""
    nib.save(nib.Nifti1Image(hu_volume().transpose(2, 1, 0), affine_ras()[:, [2, 1, 0, 3]]), tmp_path / "ct.nii.gz")
    return tmp_path / "ct.nii.gz"


class FakePipeline:
    """Draws the boxes PAROTID_LEFT and MANDIBLE where they are in the patient, and misses the brainstem."""

    def __init__(
        self, bundle_root: str | None, device: str, organs: list[str] | None, engine: str = "auto"
    ) -> None:
        self.site, self.device, self.keys = load_site(), "cpu", organs
        self.organs = [organ for organ in self.site.organs if not organs or organ.key in organs]
        self.computed = {"name": "stand-in", "precision": "fp32", "networks": "none"}
        self.weights = {"file": "model.pt", "sha256": "00", "bundle": "hn_ct_two_stage", "version": "0"}

    def segment(self, image, progress) -> SimpleNamespace:
        """A stand-in for ``Segmentation``."""
        affine = np.asarray(image.affine, dtype=float)
        label = np.zeros(image.hu.shape, dtype=np.uint8)
        lps = (np.moveaxis(np.indices(label.shape), 0, -1) @ affine[:3, :3].T + affine[:3, 3]) * [-1, -1, 1]
        progress("stage 1: locating organs")
        for key, (low, high) in {"parotid_left": PAROTID_LEFT, "mandible": MANDIBLE}.items():
            if not self.keys or key in self.keys:
                progress(f"stage 2: {key}")
                inside = (lps >= np.array(low) - 0.1).all(-1) & (lps <= np.array(high) + 0.1).all(-1)
                label[inside] = self.site.values[key]
        missing = {key: "stage 1 did not find it" for key in ("brainstem",) if not self.keys or key in self.keys}
        return SimpleNamespace(
            label=label,
            affine=affine,
            boxes={},
            missing=missing,
            seconds={"localize": 1.5},
            measures=measure(label, affine, self.site),
            warnings=["looks small"],
        )


@pytest.fixture
def fake(monkeypatch):
    """Replace the pipeline; the class is returned, so that a test can change what it does."""
    monkeypatch.setattr("oarseg.inference.job.Pipeline", lambda *options: FakePipeline(*options))
    return FakePipeline
