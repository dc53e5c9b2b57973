"""What ``average_ct`` reads and writes: training cases in, a DICOM CT series that shows nobody out."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, JPEG2000Lossless, generate_uid
from scipy import ndimage

from oarseg.errors import InputError, OutputError

INTERCEPT = -1024
BITS = 12
PREFIX = "average_"
AIR = -1000
TISSUE_HU = -500
CUT_AREA_MM2 = 3000.0  # a last slice with more tissue than this was cut off; the crown ends with less
CUT_MARGIN = 2  # slices next to a cut, where the spline still feels the step to air


@dataclass
class Case:
    """One patient: HU and labels (x, y, z), index-to-LPS affine, the slices that show the whole patient, centroids.

    ``warp``: 4x4, from mm of the average to LPS mm of the patient. ``shift``: (3, x, y, z) mm on the grid of the
    average, added before ``warp``; None before the first deformable round.
    """

    name: str
    image: np.ndarray
    labels: np.ndarray
    affine: np.ndarray
    seen: tuple[float, float]
    centroids: np.ndarray
    warp: np.ndarray | None = None
    shift: np.ndarray | None = None


def load_rows(root: Path) -> list[dict]:
    """The ``training`` rows of ``root/dataset.json``. Raises InputError where there is no such list."""
    try:
        rows = json.loads((root / "dataset.json").read_text(encoding="utf-8"))["training"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        problem = f"{root / 'dataset.json'} is no decathlon-style dataset: {error!r}"
        raise InputError(f"{problem}; expected a list `training`") from error
    if not isinstance(rows, list):
        raise InputError(f"{root / 'dataset.json'}: `training` is a {type(rows).__name__}, expected a list")
    return rows


def seen_slices(image: np.ndarray, affine: np.ndarray) -> tuple[float, float]:
    """First and last slice index that show the patient whole; infinite above a crown that ends by itself.

    ``image``: (x, y, z) HU. Raises InputError where no slice shows tissue.
    """
    area = (image > TISSUE_HU).sum((0, 1)) * np.linalg.norm(affine[:3, 0]) * np.linalg.norm(affine[:3, 1])
    slices = np.flatnonzero(area > 0)
    if not slices.size:
        raise InputError(f"no tissue above {TISSUE_HU} HU in the image")
    crown = area[slices[-1]] < CUT_AREA_MM2
    return float(slices[0] + CUT_MARGIN), np.inf if crown else float(slices[-1] - CUT_MARGIN)


def load_case(root: Path, row: dict, values: list[int]) -> Case | None:
    """Read one row of ``training``; None where one of the label ``values`` has no voxel.

    Raises InputError where a file is missing, unreadable, or image and labels do not fit.
    """
    try:
        picture = nib.load(root / row["image"])
        labels = np.asarray(nib.load(root / (row.get("label_propagated") or row["label"])).dataobj).astype(np.uint8)
        if not np.isin(values, labels).all():
            return None
        image = np.asarray(picture.dataobj).astype(np.int16)
    except (OSError, KeyError, EOFError, ImageFileError) as error:
        raise InputError(f"cannot read training case {row}: {error}") from error
    if image.shape != labels.shape or image.ndim != 3:
        raise InputError(f"{row['image']}: image {image.shape} and labels {labels.shape} must be one 3D shape")
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ picture.affine
    # The slices to trust are found along z, so put the array into LPS order first, whatever order it is stored in.
    turn = nib.orientations.ornt_transform(nib.io_orientation(picture.affine), nib.orientations.axcodes2ornt("LPS"))
    affine = affine @ nib.orientations.inv_ornt_aff(turn, image.shape)
    image, labels = (nib.orientations.apply_orientation(a, turn) for a in (image, labels))
    centres = np.array(ndimage.center_of_mass(labels > 0, labels, values))
    centroids = centres @ affine[:3, :3].T + affine[:3, 3]
    return Case(str(row["image"]), image, labels, affine, seen_slices(image, affine), centroids)


def write_series(hu: np.ndarray, spacing: np.ndarray, origin: np.ndarray, folder: Path, cases: int) -> list[Path]:
    """Write one file a slice, JPEG 2000 lossless, and return the files from inferior to superior.

    ``hu``: (x, y, z) int16, indices increasing towards left, posterior, superior. ``spacing``: mm, the same order.
    ``origin``: LPS mm of the centre of voxel (0, 0, 0). ``cases``: how many CTs were averaged, for the description.
    The UIDs are hashes of the content: the same volume gives the same files. Earlier slices of this function in
    ``folder`` are replaced. Raises OutputError where the folder cannot be written.
    """
    stored = (np.clip(hu, INTERCEPT, INTERCEPT + 2**BITS - 1) - INTERCEPT).astype(np.uint16)
    shared = _shared(stored, spacing, origin, cases)
    files = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob(f"{PREFIX}*.dcm"):
            old.unlink()
        for index in range(stored.shape[2]):
            files.append(folder / f"{PREFIX}{index + 1:03d}.dcm")
            position = np.asarray(origin) + (0, 0, index * spacing[2])
            _slice(shared, stored[:, :, index], position, index + 1).save_as(files[-1], enforce_file_format=True)
    except OSError as error:
        raise OutputError(f"cannot write the series to {folder}: {error}") from error
    return files


def _shared(stored: np.ndarray, spacing: np.ndarray, origin: np.ndarray, cases: int) -> Dataset:
    """What every slice of the series says. No date is given: the average has none."""
    content = hashlib.sha256(stored.tobytes() + np.asarray([*spacing, *origin]).tobytes()).hexdigest()
    data = Dataset()
    data.SOPClassUID = CTImageStorage
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        setattr(data, keyword, generate_uid(entropy_srcs=["oarseg average CT", keyword, content]))
    data.PatientName, data.PatientID = "Average^HeadNeck", "OARSEG-DEMO"
    data.PatientSex, data.PatientBirthDate = "O", ""
    data.PatientIdentityRemoved = "YES"
    data.DeidentificationMethod = f"Average of {cases} patients, no single patient's image"
    data.StudyDate = data.StudyTime = data.AccessionNumber = data.ReferringPhysicianName = ""
    data.StudyID, data.StudyDescription = "1", "oarseg demo"
    data.Modality, data.SeriesNumber, data.AcquisitionNumber = "CT", 1, 1
    data.SeriesDescription = f"oarseg population average of {cases} CTs"
    data.Manufacturer, data.ManufacturerModelName, data.KVP = "oarseg", "average_ct", None
    data.ImageType = ["DERIVED", "SECONDARY", "AXIAL"]
    data.DerivationDescription = "Affine and deformable alignment, then an average over patients at every voxel"
    data.BodyPartExamined, data.PatientPosition, data.PositionReferenceIndicator = "HEADNECK", "HFS", ""
    data.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    data.PixelSpacing, data.SliceThickness = [float(spacing[1]), float(spacing[0])], float(spacing[2])
    data.SamplesPerPixel, data.PhotometricInterpretation, data.PixelRepresentation = 1, "MONOCHROME2", 0
    data.Columns, data.Rows = stored.shape[:2]
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, BITS, BITS - 1
    data.RescaleIntercept, data.RescaleSlope, data.RescaleType = INTERCEPT, 1, "HU"
    data.WindowCenter, data.WindowWidth = 40, 400
    return data


def _slice(shared: Dataset, pixels: np.ndarray, position: np.ndarray, number: int) -> Dataset:
    """One slice: ``pixels`` (x, y) are written as rows of y, columns of x."""
    data = Dataset()
    data.update(shared)
    data.SOPInstanceUID = generate_uid(entropy_srcs=[shared.SeriesInstanceUID, str(number)])
    data.InstanceNumber = number
    data.ImagePositionPatient = [round(float(v), 3) for v in position]
    data.SliceLocation = data.ImagePositionPatient[2]
    data.file_meta = FileMetaDataset()
    data.file_meta.MediaStorageSOPClassUID = CTImageStorage
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.PixelData = np.ascontiguousarray(pixels.T).tobytes()
    data["PixelData"].VR = "OW"
    data.compress(JPEG2000Lossless, encoding_plugin="pylibjpeg", generate_instance_uid=False)
    return data
