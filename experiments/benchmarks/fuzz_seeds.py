"""What the fuzz run begins with: small valid files of every kind that a reader takes. No patient, no download."""

from __future__ import annotations

import functools
import json
import tempfile
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate_extended, generate_frames
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from experiments.benchmarks.fuzz_dicom import Seed

# JPEG 2000 is not written smaller than this here.
SLICES, SIZE = 4, 32
STUDY, SERIES, FRAME = "1.2.3.1", "1.2.3.2", "1.2.3.3"
CT, RTSTRUCT = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.481.3"


def ct_slice(n: int) -> Dataset:
    """Slice ``n`` of a series of 32 x 32 pixels, 3 mm apart."""
    row = Dataset()
    row.file_meta = FileMetaDataset()
    row.file_meta.MediaStorageSOPClassUID = CT
    row.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    row.SpecificCharacterSet, row.ImageType = "ISO_IR 100", ["ORIGINAL", "PRIMARY", "AXIAL"]
    row.SOPClassUID, row.SOPInstanceUID, row.Modality = CT, f"1.2.3.4.{n}", "CT"
    row.file_meta.MediaStorageSOPInstanceUID = row.SOPInstanceUID
    row.StudyInstanceUID, row.SeriesInstanceUID, row.FrameOfReferenceUID = STUDY, SERIES, FRAME
    row.StudyDate, row.StudyTime, row.AccessionNumber, row.StudyID = "20200131", "101500", "", "7"
    row.PatientName, row.PatientID, row.PatientBirthDate, row.PatientSex = "Fuzz^Nobody", "P1", "", ""
    row.ReferringPhysicianName, row.PatientPosition, row.SeriesDescription = "", "HFS", "planning"
    row.InstanceNumber, row.SeriesNumber, row.AcquisitionNumber = n + 1, 4, 1
    row.ImagePositionPatient, row.ImageOrientationPatient = [-10, 20, 3.0 * n], [1, 0, 0, 0, 1, 0]
    row.PixelSpacing, row.SliceThickness, row.GantryDetectorTilt = [2, 2], 3, 0
    row.Rows = row.Columns = SIZE
    row.BitsAllocated = row.BitsStored = 16
    row.HighBit, row.PixelRepresentation, row.SamplesPerPixel = 15, 1, 1
    row.PhotometricInterpretation, row.PixelPaddingValue = "MONOCHROME2", -2000
    row.RescaleSlope, row.RescaleIntercept, row.RescaleType = 1, 0, "HU"
    hu = np.full((SIZE, SIZE), -1000, "<i2")
    hu[3:9, 3:9] = 40 + n
    row.PixelData = hu.tobytes()
    row["PixelData"].VR = "OW"
    return row


@functools.cache
def ct_seeds() -> list[list[Seed]]:
    """For each slice, its encodings."""
    found = []
    for n in range(SLICES):
        seeds = []
        for syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian):
            row = ct_slice(n)
            row.file_meta.TransferSyntaxUID = syntax
            seeds.append(Seed.of(row))
        encoders = {RLELossless: "pydicom", JPEG2000Lossless: "pylibjpeg", JPEGLSLossless: "pyjpegls"}
        for syntax, plugin in encoders.items():
            row = ct_slice(n)
            row.compress(syntax, encoding_plugin=plugin, generate_instance_uid=False)
            seeds.append(Seed.of(row))
        # The last one again, its image found by the other kind of table.
        (image,) = generate_frames(row.PixelData, number_of_frames=1)
        row.PixelData, row.ExtendedOffsetTable, row.ExtendedOffsetTableLengths = encapsulate_extended([image])
        seeds.append(Seed.of(row))
        found.append(seeds)
    return found


@functools.cache
def plan_seeds() -> list[Seed]:
    """An RTSTRUCT of two organs, one with a hole, on the CT of ``ct_slice``; explicit and implicit VR."""
    from oarseg.dicom import Roi, read_ct, write_rtstruct

    with tempfile.TemporaryDirectory() as folder:
        for n in range(SLICES):
            ct_slice(n).save_as(Path(folder) / f"{n}.dcm", enforce_file_format=True)
        grid = read_ct(folder)
        masks = np.zeros((2, *grid.shape), bool)
        masks[0, :, 2:10, 2:10], masks[0, 1, 5:7, 5:7], masks[1, 1:3, 4:8, 4:8] = True, False, True
        names = ("Brainstem", "Bone_Mandible")
        rois = [Roi(name, (255, 0, 0), mask) for name, mask in zip(names, masks, strict=True)]
        write_rtstruct(Path(folder) / "plan.dcm", grid, rois)
        plan = pydicom.dcmread(Path(folder) / "plan.dcm")
        found = []
        for syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian):
            plan.file_meta.TransferSyntaxUID = syntax
            found.append(Seed.of(plan))
    return found


@functools.cache
def packed_seed() -> bytes:
    """A packed weight file with tensors of all three kinds."""
    import torch

    from oarseg.compression import packed, quantize, quantized, release
    from oarseg.networks import UNet3d

    torch.manual_seed(0)
    network = UNet3d(1, 2, 2)
    quantize(network, 5)
    kernels = quantized(network)
    state = dict(release(network).state_dict())
    first = dict(list(state.items())[:6])
    sparse = torch.zeros(40)
    sparse[3] = 1.5
    first |= {"sparse": sparse, "flags": torch.tensor([True, False]), "steps": torch.tensor(7)}
    return packed(first, {name: kernels[name] for name in first if name in kernels})


DATALIST = {
    "name": "fuzz", "labels": {"1": "brainstem"},
    "training": [
        {"image": "a.nii.gz", "label": "b.nii.gz", "labelled": ["brainstem"]},
        {"image": "a.nii.gz", "label": "b.nii.gz", "labelled": ["mandible"], "label_propagated": "b.nii.gz",
         "propagated": ["eye_left"]},
    ],
    "validation": [{"image": "a.nii.gz", "label": "b.nii.gz", "labelled": []}],
}  # fmt: skip
SILVER = {
    "section": "training", "round": 1,
    "cases": {"a.nii.gz": {"label": "b.nii.gz", "organs": {"eye_left": "network", "eye_right": "propagated"}}},
}  # fmt: skip
NAMES = {"Medulla": "brainstem", "Globes": None, "Parotid-Left": "parotid_left"}
MODEL_INFO = {"hn_v0.1.0": {"checksum": "a" * 40, "source": "https://example.org/hn_v0.1.0.zip"}}
NUMBERS = {"key": "0" * 32, "patients": {"x": 1}, "folders": {"y": "p0001_1"}}
STATE = {
    "settings": {"format": "dicom"},
    "cases": {"p0001_1": {"row": {"image": "a.nii.gz", "label": "b.nii.gz", "patient": "p"}, "made_from": "00"}},
}  # fmt: skip
NNUNET = [
    {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, "Brainstem": 1, "two": [1, 2]},
        "file_ending": ".nii.gz",
    },
    {"modality": {"0": "CT"}, "labels": {"0": "background", "1": "Brainstem"}, "file_ending": ".nii.gz"},
]
SCORES = (
    b"case,organ,dice,surface_dice,hd95_mm,msd_mm,centroid_mm,reference_cm3,predicted_cm3,volume_error_cm3,"
    b"volume_error_percent,status,swapped,tolerance_mm\n"
    b"a,brainstem,0.75,0.7,5.1,1.2,2.0,25.1,24.0,-1.1,-4.4,ok,False,2\n"
    b"b,mandible,0.0,0.0,,,,50.0,0.0,-50.0,-100.0,missed,False,2\n"
)


def site_seed() -> dict:
    """The table of the head and neck."""
    import oarseg.sites

    return json.loads((Path(oarseg.sites.__file__).parent / "head_neck.json").read_text(encoding="utf-8"))


@functools.cache
def whole_slices() -> list[list[bytes]]:
    """For each slice, the files of its first two encodings, unchanged."""
    from experiments.benchmarks.fuzz_dicom import file_of

    return [[file_of(seed) for seed in of_slice[:2]] for of_slice in ct_seeds()]


def ranges_seed() -> dict:
    """Of the ranges by which the shipped networks run in 8 bits, those of one network."""
    from oarseg.bundles.location import FOLDER

    content = json.loads((FOLDER / "hn_ct_two_stage/models/compressed/ranges.json").read_text(encoding="utf-8"))
    name = min(content["networks"])
    return content | {"networks": {name: content["networks"][name]}}
