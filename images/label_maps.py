"""Label maps from files, and whether two of them lie on one grid."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np

from oarseg.errors import GeometryError, InputError
from oarseg.files import reading_file
from oarseg.geometry.affine import GRID_MM, corners_apart
from oarseg.geometry.check_ct import check_affine, check_shape
from oarseg.geometry.label_map import LabelMap

NIFTI = (".nii.gz", ".nii")


def read_label_map(path: str | Path, turn: bool = True) -> LabelMap:
    """Read a NIfTI label map.

    ``turn``: with the axes nearest to R, A, S, so that the same voxels stored in another order compare equal; nothing
    is resampled. Raises InputError (missing, damaged, not 3-D, not whole numbers) or GeometryError (the affine).
    """
    return whole_numbers(*read_volume(path, turn), Path(path).name)


def whole_numbers(array: np.ndarray, affine: np.ndarray, name: str) -> LabelMap:
    """Return a label map of an array that holds whole numbers, of whatever type. Raises InputError."""
    if array.dtype.kind not in "iuf":
        raise InputError(f"{name}: voxels of type {array.dtype}, expected a label map of integers")
    if array.dtype.kind == "f":
        # Not finite fails the comparison.
        if not np.array_equal(np.rint(array), array) or abs(array).max() > np.iinfo(np.int32).max:
            raise InputError(f"{name}: voxels are not whole numbers; give a label map, not an image or probabilities")
        array = array.astype(np.int32)
    return LabelMap(array, affine)


def read_volume(path: str | Path, turn: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Return array (i, j, k) and affine (4, 4) of a NIfTI file; see :func:`read_label_map`."""
    path = Path(path)
    with reading_file(path, "NIfTI"):
        image = nib.load(path)
        shape = tuple(image.shape[:3]) + tuple(n for n in image.shape[3:] if n != 1)
        check_shape(shape, path.name)
        check_affine(image.affine, path.name)
        array, affine = np.asarray(image.dataobj).reshape(shape), np.array(image.affine, dtype=float)
        _check_whole(path)
        return turned(array, affine) if turn else (array, affine)


def _check_whole(path: Path) -> None:
    """Read a gzip file to its end, where its checksum lies (nibabel stops before). Raises what gzip raises."""
    if path.suffix == ".gz":
        with gzip.open(path) as file:
            while file.read(1 << 20):
                pass


def turned(array: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the same volume with its axes nearest to right, anterior, superior; strides only."""
    turn = nib.io_orientation(affine)
    return nib.apply_orientation(array, turn), affine @ nib.orientations.inv_ornt_aff(turn, array.shape)


def check_same_grid(prediction: LabelMap, reference: LabelMap, case: str) -> None:
    """Raise GeometryError unless both have the same voxels at the same places; nothing is resampled to make it so."""
    a, b = prediction, reference
    if a.label.shape != b.label.shape:
        raise GeometryError(
            f"{case}: the prediction has {_size(a)} voxels, the reference {_size(b)}; give both on one grid"
        )
    apart = corners_apart(a.label.shape, a.affine, b.affine)
    if apart > GRID_MM:
        raise GeometryError(
            f"{case}: prediction and reference have {_size(a)} voxels each, but their corners lie up to {apart:.2f} mm "
            f"apart (allowed: {GRID_MM:g}); give both on one grid"
        )


def _size(label_map: LabelMap) -> str:
    return " x ".join(str(n) for n in label_map.label.shape)
