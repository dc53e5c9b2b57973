"""A CT of the size of a planning CT, made from the embedded average: to measure speed and memory on, no patient.

    python -m oarseg.demo.planning_ct FOLDER [--jpeg2000]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, JPEG2000Lossless, generate_uid

from oarseg.dicom import CtVolume, read_ct
from oarseg.dicom.write.save import add_file_meta, save_whole
from oarseg.errors import InputError, OutputError
from oarseg.files import writing
from oarseg.geometry.grid import Grid, Triple, image_grid, resample

FOLDER = Path(__file__).resolve().parent / "ct"
SHAPE, SPACING = (150, 512, 512), (2.5, 0.98, 0.98)
# HU of a scanner's noise, without which nothing would cost what it costs on a patient's CT.
NOISE_HU = 10.0
AIR_HU = -1000
INTERCEPT = -1024


def write_planning_ct(
    folder: str | Path,
    shape: tuple[int, int, int] = SHAPE,
    spacing: Triple = SPACING,
    jpeg2000: bool = False,
) -> Path:
    """Write the series into ``folder``, which must be new or empty, one file a slice. Returns the folder.

    Args: ``shape``, ``spacing``: slices, rows, columns; mm. The top of the head and the middle of its slices are where
    they are in the average; below its last slice that slice goes on, beside it there is air. ``jpeg2000``: compressed,
    lossless. The same arguments give the same files.
    Raises InputError where ``folder`` holds something, OutputError where it cannot be written.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} is not empty; give a new folder for the CT")
    ct = read_ct(FOLDER)
    hu = enlarged(ct.hu, image_grid(ct.shape, ct.affine), shape, spacing)
    shared = _shared(ct, shape, spacing)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for index, values in enumerate(hu):
        save_whole(_slice(shared, values, index, jpeg2000), folder / f"{index + 1:04d}.dcm")
    return folder


def enlarged(hu: np.ndarray, grid: Grid, shape: tuple[int, int, int], spacing: Triple) -> np.ndarray:
    """Return ``hu`` (D, H, W), slices upwards, on ``grid`` as ``shape`` voxels of ``spacing`` mm; int16, with noise."""
    extent = [n * s for n, s in zip(shape, spacing, strict=True)]
    below = max(0, int(np.ceil((extent[0] - grid.extent[0]) / grid.spacing[0])) + 1)
    # Counted from air, since beyond a volume there are zeros.
    longer = np.pad(hu.astype(np.float32) - AIR_HU, [(below, 0), (0, 0), (0, 0)], mode="edge")
    source = Grid((-below * grid.spacing[0], 0.0, 0.0), grid.spacing, longer.shape)
    centre = [(g - e) / 2 for g, e in zip(grid.extent, extent, strict=True)]
    target = Grid((grid.extent[0] - extent[0], *centre[1:]), tuple(spacing), tuple(shape))
    values = resample(longer[None], source, target)[0]
    random = np.random.default_rng(0)
    for plane in values:
        plane += random.normal(AIR_HU, NOISE_HU, plane.shape)
    return np.clip(np.rint(values), INTERCEPT, 3000).astype(np.int16)


def _shared(ct: CtVolume, shape: tuple[int, int, int], spacing: Triple) -> Dataset:
    """Return the tags that all slices share. The UIDs are hashes of the size: another size is another series."""
    data = Dataset()
    data.update(ct.header)
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        setattr(data, keyword, generate_uid(entropy_srcs=["oarseg planning CT", keyword, str((shape, spacing))]))
    data.SOPClassUID, data.Modality = CTImageStorage, "CT"
    data.SeriesDescription = "oarseg enlarged population average"
    data.ImageType, data.PatientPosition = ["DERIVED", "SECONDARY", "AXIAL"], "HFS"
    data.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    data.PixelSpacing, data.SliceThickness = list(spacing[1:]), spacing[0]
    data.SamplesPerPixel, data.PhotometricInterpretation, data.PixelRepresentation = 1, "MONOCHROME2", 0
    data.Rows, data.Columns = shape[1:]
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, 12, 11
    data.RescaleIntercept, data.RescaleSlope, data.RescaleType = INTERCEPT, 1, "HU"
    return data


def _slice(shared: Dataset, hu: np.ndarray, index: int, jpeg2000: bool) -> Dataset:
    data = Dataset()
    data.update(shared)
    data.SOPInstanceUID = generate_uid(entropy_srcs=[shared.SeriesInstanceUID, str(index)])
    data.InstanceNumber = index + 1
    (height, width), (down, across) = hu.shape, shared.PixelSpacing
    place = (-(width - 1) / 2 * across, -(height - 1) / 2 * down, index * shared.SliceThickness)
    data.ImagePositionPatient = [round(float(v), 3) for v in place]
    add_file_meta(data, ExplicitVRLittleEndian)
    data.PixelData = (hu - np.int16(INTERCEPT)).astype("<u2").tobytes()
    data["PixelData"].VR = "OW"
    if jpeg2000:
        data.compress(JPEG2000Lossless, encoding_plugin="pylibjpeg", generate_instance_uid=False)
    return data


def main(argv: list[str] | None = None) -> int:
    """Write the CT from the command line. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="new folder for the DICOM series")
    parser.add_argument("--jpeg2000", action="store_true", help="compressed, lossless")
    args = parser.parse_args(argv)
    try:
        print(write_planning_ct(args.folder, jpeg2000=args.jpeg2000))
    except (InputError, OutputError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
