"""The CT that is to be contoured, from a DICOM folder or a NIfTI or NRRD file: int16 HU and an affine in RAS mm.

>>> image = read_image("planning_ct")                              # doctest: +SKIP
>>> image.hu.shape, image.hu.dtype                                 # doctest: +SKIP
((180, 512, 512), dtype('int16'))
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np

from oarseg.dicom import CtGrid, read_ct
from oarseg.dicom.read.header import Header, Unreadable, read_header
from oarseg.errors import GeometryError, InputError, OarsegError
from oarseg.geometry.check_ct import check_affine, check_ct, check_shape

if TYPE_CHECKING:
    from monai.data import MetaTensor

NIFTI = (".nii", ".nii.gz")
NRRD = (".nrrd", ".nhdr")
SUPPORTED = "a folder with a DICOM CT series, or a .nii, .nii.gz, .nrrd or .nhdr file"
INT16 = np.iinfo(np.int16)
# NRRD's names of world axes, and the signs that turn them into RAS.
SPACES = {
    "left-posterior-superior": (-1.0, -1.0, 1.0),
    "lps": (-1.0, -1.0, 1.0),
    "right-anterior-superior": (1.0, 1.0, 1.0),
    "ras": (1.0, 1.0, 1.0),
    "left-anterior-superior": (-1.0, 1.0, 1.0),
    "las": (-1.0, 1.0, 1.0),
}


@dataclass(frozen=True, eq=False)
class CtImage:
    """A CT ready for the pipeline.

    ``hu``: int16 (i, j, k). ``affine``: index (i, j, k) to RAS mm, (4, 4) float64. ``kind``: "DICOM", "NIfTI" or
    "NRRD". ``volume``: the geometry of the CT series without its pixels, as ``write_rtstruct`` needs it, for DICOM
    only. ``warnings``: what was odd but usable; they name no patient and no file.
    """

    hu: np.ndarray = field(repr=False)
    affine: np.ndarray
    kind: str
    volume: CtGrid | None = None
    warnings: tuple[str, ...] = field(default=())

    @property
    def tensor(self) -> MetaTensor:
        """The same as MONAI's transforms take it: int16 (1, i, j, k); the voxels are shared."""
        from oarseg.images.tensors import meta_tensor

        return meta_tensor(self.hu, self.affine)

    @property
    def series(self) -> str | None:
        """The first 16 hex digits of the SHA-256 of the series UID: tells series apart and names no patient."""
        return hashlib.sha256(self.volume.series_uid.encode()).hexdigest()[:16] if self.volume else None


def read_image(path: str | Path, series: str | None = None) -> CtImage:
    """Read and check the CT at ``path``.

    ``series``: which one, where a DICOM folder holds several (UID, end of a UID, or series number).
    Memory: a DICOM folder or an integer file costs its int16 volume; a scaled or floating-point file costs the file's
    own numbers besides while it is read.
    Raises InputError or GeometryError: one line with the file's name, what is wrong, and what to do.
    """
    path = Path(path)
    try:
        if path.is_dir():
            return _read_folder(path, series)
        if not path.exists():
            raise InputError(f"{path} does not exist; give {SUPPORTED}")
        if not path.is_file():
            raise InputError(f"{path} is neither a file nor a folder; give {SUPPORTED}")
        if path.name.lower().endswith(NIFTI):
            return _read_file(path, series, "NIfTI", _load_nifti)
        if path.name.lower().endswith(NRRD):
            return _read_file(path, series, "NRRD", _load_nrrd)
    except PermissionError as error:
        raise InputError(f"{path} cannot be read (permission denied); check its permissions") from error
    raise InputError(_not_supported(path))


def _not_supported(path: Path) -> str:
    header = read_header(path)
    if isinstance(header, Header) or "DICOM, but" in header.reason:
        return f"{path.name} is one DICOM file; give the folder that holds the whole CT series: {path.parent}"
    if isinstance(header, Unreadable) and header.suspect:
        return f"{path.name} {header.reason}; give {SUPPORTED}"
    return f"{path.name} is no image that can be read; give {SUPPORTED}"


def _read_folder(path: Path, series: str | None) -> CtImage:
    volume = read_ct(path, series)
    unusual = check_ct(volume.hu, volume.affine, path.name or "the folder")
    notes = list(volume.warnings) + [w.removeprefix(f"{path.name or 'the folder'}: ") for w in unusual]
    return CtImage(volume.hu, volume.affine.copy(), "DICOM", volume.grid(), tuple(notes))


def _read_file(path: Path, series: str | None, kind: str, load) -> CtImage:
    if series:
        raise InputError(f"{path.name} is no DICOM folder, so there is no series to choose; leave out --series")
    try:
        array, affine, notes = load(path)
    except (OarsegError, PermissionError):
        raise
    except MemoryError as error:
        raise InputError(f"{path.name} does not fit into memory; crop the CT to the region of the organs") from error
    except Exception as error:  # noqa: BLE001 - the file libraries raise nearly anything on damaged files
        said = " ".join(str(error).replace(str(path), path.name).split())[:160]
        raise InputError(
            f"{path.name} cannot be read as {kind} ({type(error).__name__}: {said}); is it cut short? Copy it again"
        ) from error
    unusual = check_ct(array, affine, path.name)
    hu, clipped = _int16(array)
    notes += [w.removeprefix(f"{path.name}: ") for w in unusual] + clipped
    return CtImage(hu, affine, kind, None, tuple(notes))


def _load_nifti(path: Path) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Array (i, j, k) in the file's numbers, RAS affine, warnings."""
    image = nib.load(path)
    shape = _squeezed(image.shape)
    check_shape(shape, path.name)
    header = image.header
    if header.get_data_dtype().fields:
        raise InputError(f"{path.name}: a colour image, expected one CT volume in HU")
    if hasattr(header, "get") and not int(header.get("qform_code", 0)) and not int(header.get("sform_code", 0)):
        raise GeometryError(
            f"{path.name}: states no orientation (qform_code and sform_code are 0), so left and right cannot be told; "
            "export the CT again with an orientation"
        )
    check_affine(image.affine, path.name)
    notes = _forms_differ(image)
    data = image.dataobj
    # A slope makes float64 of integers, unless told: single precision holds every HU exactly.
    array = np.asanyarray(data) if (data.slope, data.inter) == (1, 0) else np.asarray(data, np.float32)
    return array.reshape(shape, order="A"), np.array(image.affine, dtype=float), notes


def _forms_differ(image: nib.Nifti1Image) -> list[str]:
    qform, sform = image.get_qform(coded=True)[0], image.get_sform(coded=True)[0]
    if qform is None or sform is None or np.allclose(qform, sform, atol=0.5):
        return []
    return ["the file states two different positions (qform and sform); the sform was used"]


def _load_nrrd(path: Path) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Array (i, j, k) in the file's numbers, RAS affine, warnings."""
    import nrrd

    header = nrrd.read_header(str(path))
    check_shape(tuple(int(n) for n in header["sizes"]), path.name)
    space = str(header.get("space", "")).lower()
    absent = [field for field in ("space", "space directions", "space origin") if field not in header]
    if absent or space not in SPACES:
        found = f"without {absent[0]!r}" if absent else f"space {space!r}"
        raise GeometryError(
            f"{path.name}: NRRD {found}, expected space left-posterior-superior or right-anterior-superior with "
            "directions and origin, or left and right cannot be told; export the CT again"
        )
    array, _ = nrrd.read(str(path))
    affine = np.eye(4)
    affine[:3, :3] = np.asarray(header["space directions"], dtype=float).T
    affine[:3, 3] = np.asarray(header["space origin"], dtype=float)
    return array, np.diag([*SPACES[space], 1.0]) @ affine, []


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Without single entries beyond the third axis, which some tools append."""
    return tuple(shape[:3]) + tuple(n for n in shape[3:] if n != 1)


def _int16(array: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Rounded to 1 HU, in the array's own memory order, slab by slab so that no second full-size float is made."""
    notes = []
    if array.min() < INT16.min or array.max() > INT16.max:
        notes.append(f"values beyond {INT16.min} to {INT16.max} were clipped")
    if array.dtype == np.int16:
        # A file's bytes may be read-only or of the other byte order; PyTorch takes neither.
        return np.require(array, dtype="=i2", requirements=["W"]), notes
    out = np.empty_like(array, dtype=np.int16)
    axis = int(np.argmax(np.abs(array.strides)))
    for target, slab in zip(np.moveaxis(out, axis, 0), np.moveaxis(array, axis, 0), strict=True):
        values = np.clip(slab, INT16.min, INT16.max)
        target[...] = np.rint(values) if values.dtype.kind == "f" else values
    return out, notes
