"""The CT series that geometry_variants.py compares: one patient sampled on many lattices, written as DICOM.

DICOM's patient coordinates are fixed to the patient (LPS mm: x to the left, y to the back, z to the head): one who lies
prone or feet first keeps them, and only ImageOrientationPatient and ImagePositionPatient differ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from scipy import ndimage
from scipy.spatial.transform import Rotation

from oarseg.dicom import CtVolume

FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])
AIR, INTERCEPT = -1000, -1024
# Direction in which columns are counted, and rows.
POSITIONS = {
    "HFS": (1, 0, 0, 0, 1, 0), "HFP": (-1, 0, 0, 0, -1, 0), "HFDL": (0, -1, 0, 1, 0, 0), "HFDR": (0, 1, 0, -1, 0, 0),
    "FFS": (-1, 0, 0, 0, 1, 0), "FFP": (1, 0, 0, 0, -1, 0), "FFDL": (0, 1, 0, 1, 0, 0), "FFDR": (0, -1, 0, -1, 0, 0),
}  # fmt: skip
SAGITTAL, CORONAL = (0, 1, 0, 0, 0, -1), (1, 0, 0, 0, 0, -1)


@dataclass
class Series:
    """A lattice: ``affine`` from (slice, row, column) to LPS mm. ``turn``: how the patient lies turned in it.

    ``cosines``: as written, ``position``: PatientPosition. ``edit``: changes the written slices.
    """

    name: str
    affine: np.ndarray
    shape: tuple[int, int, int]
    cosines: np.ndarray
    position: str = "HFS"
    turn: np.ndarray = field(default_factory=lambda: np.eye(4))
    edit: Callable[[list[Dataset]], object] = lambda slices: None


def all_series(ct: CtVolume) -> Iterator[Series]:
    """Every series of the table, from the geometry of the CT."""
    for name, cosines in POSITIONS.items():
        yield lattice(ct, name, cosines, position=name)
    yield lattice(ct, "FFP, PatientPosition says HFS", POSITIONS["FFP"])
    yield lattice(ct, "instance numbers from above", POSITIONS["HFS"], edit=numbers_reversed)
    yield lattice(ct, "sagittal", SAGITTAL)
    yield lattice(ct, "coronal", CORONAL)
    yield lattice(ct, "sagittal, 4 mm apart", SAGITTAL, spacing=(4, 3, 2))
    yield lattice(ct, "pixels of 1.2 x 2.5 mm", POSITIONS["HFS"], spacing=(3, 1.2, 2.5))
    for name, turns, start in (
        ("oblique, x 4", {"x": 4}, "HFS"), ("oblique, x 10", {"x": 10}, "HFS"), ("oblique, z 20", {"z": 20}, "HFS"),
        ("oblique, x 10 y 20", {"x": 10, "y": 20}, "HFS"), ("oblique, FFP x 10 y 20", {"x": 10, "y": 20}, "FFP"),
        ("oblique, x 45", {"x": 45}, "HFS"),
    ):  # fmt: skip
        yield lattice(ct, name, POSITIONS[start], position=start, turn=rotation(turns))
    for name, turns in (("x 5", {"x": 5}), ("x 10", {"x": 10}), ("z 10", {"z": 10}), ("z 20", {"z": 20})):
        yield lattice(ct, f"head turned, {name}", POSITIONS["HFS"], head=rotation(turns))
    yield tilted(ct, 2.0)
    yield tilted(ct, 15.0)
    yield lattice(ct, "a slice lacking", POSITIONS["HFS"], edit=lambda slices: slices.pop(40))
    yield lattice(ct, "a slice turned", POSITIONS["HFS"], edit=one_turned)


def rotation(turns: dict[str, float]) -> np.ndarray:
    """Turns about LPS axes, degrees, one after the other."""
    matrix = np.eye(3)
    for axis, degrees in turns.items():
        matrix = Rotation.from_euler(axis, degrees, degrees=True).as_matrix() @ matrix
    return matrix


def lattice(
    ct: CtVolume,
    name: str,
    cosines: Sequence[float],
    spacing: Sequence[float] | None = None,
    turn: np.ndarray | None = None,
    head: np.ndarray | None = None,
    **rest: object,
) -> Series:
    """A straight stack with one voxel on the CT's middle one, large enough to hold the CT.

    ``spacing``: between slices, rows, columns; that of the CT in these directions by default. ``turn``: of the stack,
    ``head``: of the patient, both about the middle, (3, 3).
    """
    row, column = np.array(cosines[:3], float), np.array(cosines[3:], float)
    directions = np.stack([np.cross(row, column), column, row], axis=1)
    lps = FLIP @ ct.affine
    own, middle = lps[:3, :3], lps @ [*(np.array(ct.shape) // 2), 1]
    if spacing is None:
        spacing = np.abs(directions.T @ own).sum(axis=1)
    turned = directions if turn is None else turn @ directions
    ends = np.array(np.meshgrid(*([-(n // 2) - 0.5, n - n // 2 - 0.5] for n in ct.shape), indexing="ij")).reshape(3, 8)
    reach = turned.T @ own @ ends / np.array(spacing)[:, None]
    low, high = np.ceil(reach.min(axis=1) - 1e-6), np.floor(reach.max(axis=1) + 1e-6)
    affine = np.eye(4)
    affine[:3, :3] = turned * spacing
    affine[:3, 3] = middle[:3] + affine[:3, :3] @ low
    moved = np.eye(4)
    if head is not None:
        moved[:3, :3], moved[:3, 3] = head, middle[:3] - head @ middle[:3]
    shape = tuple(int(n) for n in high - low + 1)
    return Series(name, affine, shape, np.concatenate([turned[:, 2], turned[:, 1]]), turn=moved, **rest)


def tilted(ct: CtVolume, degrees: float) -> Series:
    """Slices tilted about the row direction, their positions along the couch: a sheared stack."""
    one = lattice(ct, f"gantry tilt {degrees:g}", POSITIONS["HFS"])
    tilt = rotation({"x": degrees})
    one.affine[:3, 1] = tilt @ one.affine[:3, 1]
    one.cosines = np.concatenate([one.cosines[:3], tilt @ one.cosines[3:]])
    return one


def numbers_reversed(slices: list[Dataset]) -> None:
    for item in slices:
        item.InstanceNumber = len(slices) + 1 - item.InstanceNumber


def one_turned(slices: list[Dataset]) -> None:
    # A new element: the slices share theirs.
    slices[40].add_new("ImageOrientationPatient", "DS", list(POSITIONS["HFP"]))


def write(series: Series, hu: np.ndarray, ct: CtVolume, folder: Path) -> dict[str, int]:
    """Write ``hu`` on the lattice, files named in an order that says nothing; returns slice index by SOP UID."""
    folder.mkdir()
    shared, slices = Dataset(), []
    shared.update(ct.header)
    shared.SOPClassUID, shared.Modality, shared.PatientPosition = CTImageStorage, "CT", series.position
    shared.SeriesInstanceUID, shared.ImageType = generate_uid(), ["DERIVED", "SECONDARY", "AXIAL"]
    spacing = np.linalg.norm(series.affine[:3, :3], axis=0)
    shared.PixelSpacing, shared.SliceThickness = [f"{s:.6f}" for s in spacing[1:]], f"{spacing[0]:.6f}"
    shared.ImageOrientationPatient = [f"{v:.10f}" for v in series.cosines]
    shared.SamplesPerPixel, shared.PhotometricInterpretation, shared.PixelRepresentation = 1, "MONOCHROME2", 1
    shared.Rows, shared.Columns = hu.shape[1:]
    shared.BitsAllocated, shared.BitsStored, shared.HighBit = 16, 16, 15
    shared.RescaleIntercept, shared.RescaleSlope, shared.RescaleType = INTERCEPT, 1, "HU"
    for index, plane in enumerate(hu):
        item = Dataset()
        item.update(shared)
        item.SOPInstanceUID, item.InstanceNumber = generate_uid(), index + 1
        item.ImagePositionPatient = [f"{v:.6f}" for v in (series.affine @ [index, 0, 0, 1])[:3]]
        item.PixelData = (plane.astype(np.int32) - INTERCEPT).astype("<i2").tobytes()
        item["PixelData"].VR = "OW"
        item.file_meta = FileMetaDataset()
        item.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        slices.append(item)
    numbers = {item.SOPInstanceUID: index for index, item in enumerate(slices)}
    series.edit(slices)
    for name, item in zip(np.random.default_rng(0).permutation(len(slices)), slices, strict=True):
        item.save_as(folder / f"{name:04d}.dcm", enforce_file_format=True)
    return numbers


def sampled(values: np.ndarray, source: np.ndarray, target: np.ndarray, shape: Sequence[int], order: int) -> np.ndarray:
    """``values`` on the lattice ``source`` at that of ``target`` (index to LPS mm): HU by order 1, labels by 0."""
    there = np.linalg.inv(source) @ target
    outside = AIR if order else 0
    return ndimage.affine_transform(
        values, there[:3, :3], there[:3, 3], tuple(shape), order=order, mode="grid-constant", cval=outside
    )
