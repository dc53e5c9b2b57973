"""NIfTI: a CT read in the file's own numbers, and a label map written."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np

from oarseg import __version__
from oarseg.errors import GeometryError, InputError
from oarseg.geometry.check_ct import check_affine, check_shape


def load_nifti(path: Path) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Return the array (i, j, k) in the file's numbers, its RAS affine, and warnings.

    Raises InputError or GeometryError if the file cannot hold a CT.
    """
    image = nib.load(path)
    # Some tools append axes of a single entry.
    shape = tuple(image.shape[:3]) + tuple(n for n in image.shape[3:] if n != 1)
    check_shape(shape, path.name)
    header = image.header
    if header.get_data_dtype().fields:
        raise InputError(f"{path.name}: a colour image, expected one CT volume in HU")
    if hasattr(header, "get") and not int(header.get("qform_code", 0)) and not int(header.get("sform_code", 0)):
        raise GeometryError(
            f"{path.name}: states no orientation (qform_code and sform_code are 0), so left and right are unknown; "
            "export the CT again with an orientation"
        )
    check_affine(image.affine, path.name)
    notes = _forms_differ(image)
    data = image.dataobj
    # A slope makes float64 of integers by default: single precision holds every HU exactly.
    array = np.asanyarray(data) if (data.slope, data.inter) == (1, 0) else np.asarray(data, np.float32)
    return array.reshape(shape, order="A"), np.array(image.affine, dtype=float), notes


def _forms_differ(image: nib.Nifti1Image) -> list[str]:
    qform, sform = image.get_qform(coded=True)[0], image.get_sform(coded=True)[0]
    if qform is None or sform is None or np.allclose(qform, sform, atol=0.5):
        return []
    return ["the file states two different positions (qform and sform); the sform was used"]


def write_label_map(path: Path, label: np.ndarray, affine: np.ndarray, slices_first: bool = False) -> None:
    """Write a label map (i, j, k) uint8 with its RAS ``affine`` as NIfTI.

    ``slices_first``: the axes are slices, rows, columns, as DICOM is read. The file gets columns, rows, slices, which
    NIfTI tools expect; the voxels stay where they are in the patient.
    """
    if slices_first:
        label, affine = label.transpose(2, 1, 0), affine[:, [2, 1, 0, 3]]
    write_volume(path, label, affine, f"oarseg {__version__}: research use only")


def write_volume(path: Path, volume: np.ndarray, affine: np.ndarray, description: str = "") -> None:
    """Write an array (i, j, k) with its RAS ``affine`` as NIfTI, in mm; ``description`` goes to the header."""
    image = nib.Nifti1Image(volume, affine)
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1)
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = description.encode()
    nib.save(image, path)
