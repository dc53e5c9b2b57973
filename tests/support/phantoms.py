"""The synthetic patient that every test shares: a body with eight organs, drawn in world coordinates on any grid.

Nothing about it is symmetric: the left parotid is larger than the right one, and a dense ball lies on the left.
Organ ``v`` has ``v * 75`` HU, the body 0, so a stand-in for a network can tell the organs by their intensity.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from torch import Tensor, nn
from torch.nn.functional import max_pool3d

# RAS mm of the middle of the head.
CENTRE = np.array([12.0, -20.0, 45.0])
# Offsets from it and half axes, mm: towards left, posterior, superior.
BODY = ((0, 0, 0), (78, 92, 80))
ORGANS = {
    1: ((0, 25, 20), (13, 12, 22)),
    2: ((32, -64, 25), (12, 12, 12)),
    3: ((-32, -64, 25), (12, 12, 12)),
    4: ((0, -45, -40), (38, 20, 14)),
    5: ((18, -33, 22), (8, 13, 8)),
    6: ((-18, -33, 22), (8, 13, 8)),
    7: ((52, 15, -15), (14, 18, 24)),
    8: ((-52, 15, -15), (12, 15, 18)),
}
BALL = ((45, -35, -5), (6, 6, 6))
HU_STEP = 75
KEYS = (
    "brainstem", "eye_left", "eye_right", "mandible",
    "optic_nerve_left", "optic_nerve_right", "parotid_left", "parotid_right",
)  # fmt: skip
SHAPE = (64, 64, 56)


def lps_affine(spacing: tuple[float, float, float] = (3, 3, 3), shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """RAS affine of an image with L, P, S axes whose middle is the patient's."""
    return centred_affine(np.diag([-spacing[0], -spacing[1], spacing[2]]), shape)


def centred_affine(matrix: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """RAS affine with the directions of ``matrix`` (3, 3) that puts the patient into the middle of the volume."""
    affine = np.eye(4)
    affine[:3, :3] = matrix
    affine[:3, 3] = CENTRE - np.asarray(matrix) @ ((np.array(shape) - 1) / 2)
    return affine


def draw(shape: tuple[int, ...], affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """HU (int16) and label map (uint8) of the patient on a grid, by world position."""
    ras = np.moveaxis(np.indices(shape), 0, -1) @ np.asarray(affine)[:3, :3].T + np.asarray(affine)[:3, 3]
    lps = (ras - CENTRE) * [-1, -1, 1]

    def inside(middle: tuple, axes: tuple) -> np.ndarray:
        return (((lps - middle) / np.array(axes)) ** 2).sum(-1) <= 1

    hu = np.full(shape, -1000, dtype=np.int16)
    hu[inside(*BODY)] = 0
    hu[inside(*BALL)] = 1500
    label = np.zeros(shape, dtype=np.uint8)
    for value, place in ORGANS.items():
        label[inside(*place)] = value
        hu[label == value] = value * HU_STEP
    return hu, label


def scaled(hu: np.ndarray) -> np.ndarray:
    """HU clipped and scaled as the bundles do."""
    return (np.clip(hu, -1000, 600).astype(np.float32) + 1000) / 1600


class ByIntensity(nn.Module):
    """A stand-in for a trained network: finds organs of the phantom by their intensity, with soft borders.

    Voxels of an organ's intensity that have only such neighbours are its core; everything brighter than half the organ
    (and darker than one and a half) near the core belongs to it. So the smooth borders of brighter organs do not count.
    """

    def __init__(self, values: list[int]) -> None:
        super().__init__()
        self.values = values
        self.calls: list[tuple[int, ...]] = []

    def forward(self, image: Tensor) -> Tensor:
        self.calls.append(tuple(image.shape[2:]))
        logits = [torch.zeros_like(image)]
        for value in self.values:
            step = value * HU_STEP / 1600
            distance = (image - 1000 / 1600 - step).abs()
            soft = 12 * (0.5 - distance / step)
            near = -max_pool3d((distance > 0.02).float(), 3, 1, 1) + 1
            for _ in range(6):
                near = max_pool3d(near, 3, 1, 1) * (soft > 0)
            logits.append(torch.where(max_pool3d(near, 3, 1, 1) > 0, soft, -12.0))
        return torch.cat(logits, dim=1)


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * float((a & b).sum()) / max(1, float(a.sum() + b.sum()))


@dataclass(frozen=True)
class Phantom:
    """What the fixture ``phantom`` offers."""

    keys = KEYS
    organs = ORGANS
    shape = SHAPE
    centre = CENTRE
    hu_step = HU_STEP
    lps_affine = staticmethod(lps_affine)
    centred_affine = staticmethod(centred_affine)
    draw = staticmethod(draw)
    scaled = staticmethod(scaled)
    dice = staticmethod(dice)
    ByIntensity = ByIntensity

    @staticmethod
    def tensors(shape: tuple[int, ...], affine: np.ndarray) -> tuple[MetaTensor, MetaTensor]:
        """Image in HU and label map, (1, i, j, k)."""
        hu, label = draw(shape, affine)
        image = MetaTensor(torch.as_tensor(hu.astype(np.float32))[None], affine=torch.as_tensor(affine))
        return image, MetaTensor(torch.as_tensor(label)[None], affine=torch.as_tensor(affine))


@pytest.fixture(scope="session")
def phantom() -> Phantom:
    """The synthetic patient and helpers to draw and to find it."""
    return Phantom()


def save(array: np.ndarray, affine: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, affine), path)


@pytest.fixture(scope="session")
def dataset_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A datalist of five small cases: fully, partly and silver labelled training cases; two validation cases."""
    folder = tmp_path_factory.mktemp("phantoms")
    clinical = ["brainstem", "mandible", "parotid_left", "parotid_right"]
    some = {"full": list(KEYS), "partial": ["brainstem", "mandible", "parotid_left"], "silver": clinical}
    sections = {
        "training": {"a": "full", "b": "partial", "c": "silver"},
        "validation": {"d": "full", "e": "partial"},
    }
    content: dict = {"name": "phantoms", "labels": {"0": "background"} | {str(i): k for i, k in enumerate(KEYS, 1)}}
    for section, cases in sections.items():
        content[section] = []
        for shift, (name, kind) in enumerate(cases.items()):
            affine = lps_affine()
            affine[:3, 3] += [2.0 * shift, -3.0 * shift, shift]
            hu, label = draw(SHAPE, affine)
            kept = np.isin(label, [KEYS.index(key) + 1 for key in some[kind]])
            row = {"image": f"images/{name}.nii.gz", "label": f"labels/{name}.nii.gz", "labelled": some[kind]}
            save(hu, affine, folder / row["image"])
            save(label * kept, affine, folder / row["label"])
            if kind == "silver":
                row["label_propagated"] = f"silver/{name}.nii.gz"
                row["propagated"] = [key for key in KEYS if key not in clinical]
                save(label, affine, folder / row["label_propagated"])
            content[section].append(row)
    (folder / "dataset.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def ct_slices() -> Callable[..., list[Dataset]]:
    """A small CT series as a scanner sends it: see ``_ct_slices``."""
    return _ct_slices


def _ct_slices(count: int = 4, *, series: str | None = None, study: str | None = None) -> list[Dataset]:
    """A CT series of ``count`` slices of 64 x 64."""
    series, study, frame = series or generate_uid(), study or generate_uid(), generate_uid()
    rows = []
    for n in range(count):
        row = Dataset()
        row.file_meta = FileMetaDataset()
        row.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        row.SOPClassUID, row.SOPInstanceUID = CTImageStorage, generate_uid()
        row.SeriesInstanceUID, row.StudyInstanceUID, row.FrameOfReferenceUID = series, study, frame
        row.Modality, row.PatientName, row.PatientID, row.StudyDate = "CT", "Secret^Name", "12345", "20260115"
        row.ImagePositionPatient, row.ImageOrientationPatient = [0, 0, 3.0 * n], [1, 0, 0, 0, 1, 0]
        row.PixelSpacing, row.SliceThickness, row.InstanceNumber = [3, 3], 3, n + 1
        row.Rows = row.Columns = 64
        row.BitsAllocated = row.BitsStored = 16
        row.HighBit, row.PixelRepresentation, row.SamplesPerPixel = 15, 1, 1
        row.PhotometricInterpretation, row.RescaleSlope, row.RescaleIntercept = "MONOCHROME2", 1, 0
        row.PixelData = np.full((64, 64), n, "<i2").tobytes()
        rows.append(row)
    return rows
