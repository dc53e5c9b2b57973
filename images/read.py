"""The CT that is to be contoured, from a DICOM folder or a NIfTI or NRRD file: int16 HU and an affine in RAS mm.

>>> image = read_image("planning_ct")                              # doctest: +SKIP
>>> image.hu.shape, image.hu.dtype                                 # doctest: +SKIP
((180, 512, 512), dtype('int16'))
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from oarseg.dicom import CtGrid, read_ct
from oarseg.dicom.read.header import Header, Unreadable, read_header
from oarseg.errors import InputError
from oarseg.files import reading_file
from oarseg.geometry.check_ct import check_ct
from oarseg.identity import short_hash
from oarseg.images.nifti import load_nifti

if TYPE_CHECKING:
    from monai.data import MetaTensor

NIFTI = (".nii", ".nii.gz")
NRRD = (".nrrd", ".nhdr")
SUPPORTED = "a folder with a DICOM CT series, or a .nii, .nii.gz, .nrrd or .nhdr file"
INT16 = np.iinfo(np.int16)
Loader = Callable[[Path], tuple[np.ndarray, np.ndarray, list[str]]]


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
        """The CT for MONAI's transforms: int16 (1, i, j, k); the voxels are shared."""
        import torch
        from monai.data import MetaTensor

        return MetaTensor(torch.from_numpy(self.hu)[None], affine=torch.as_tensor(self.affine, dtype=torch.float64))

    @property
    def series(self) -> str | None:
        """A hash of the series UID, which tells series apart and names no patient; None for a file."""
        return short_hash(self.volume.series_uid) if self.volume else None


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
            return _read_file(path, series, "NIfTI", load_nifti)
        if path.name.lower().endswith(NRRD):
            from oarseg.images.nrrd import load_nrrd

            return _read_file(path, series, "NRRD", load_nrrd)
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


def _read_file(path: Path, series: str | None, kind: str, load: Loader) -> CtImage:
    if series:
        raise InputError(f"{path.name} is no DICOM folder, so there is no series to choose; leave out --series")
    with reading_file(path, kind):
        array, affine, notes = load(path)
    unusual = check_ct(array, affine, path.name)
    hu, clipped = _int16(array)
    notes += [w.removeprefix(f"{path.name}: ") for w in unusual] + clipped
    return CtImage(hu, affine, kind, None, tuple(notes))


def _int16(array: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Return ``array`` rounded to 1 HU, in its own memory order, and warnings; slab by slab, to save memory."""
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
