"""Images and masks from NIfTI and NRRD files, and masks put on their image's voxels without resampling."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from oarseg.datasets.convert.cases import Loaded
from oarseg.errors import GeometryError, InputError
from oarseg.files import reading_file
from oarseg.geometry.affine import corner_points, voxel_spacing
from oarseg.geometry.check_ct import check_affine
from oarseg.images.label_maps import GRID_MM, NIFTI, LabelMap, read_label_map, whole_numbers
from oarseg.images.nrrd import load_nrrd
from oarseg.images.read import NRRD, read_image

_POINTER = b"version https://git-lfs"
_SHOWN = 5


@dataclass(frozen=True)
class MaskFile:
    """Where an organ's voxels are: all that are not 0 in ``path``, or those of ``values`` in a label map.

    ``highest``: the largest value that the set's numbering knows; a file beyond it was numbered in another way.
    """

    path: Path
    values: tuple[int, ...] | None = None
    highest: int | None = None

    @property
    def described(self) -> str:
        """The file and its values, for the record of what an organ was made from."""
        return self.path.name + (f"={','.join(map(str, self.values))}" if self.values else "")


def load_files(image: Path, organs: Mapping[str, Sequence[MaskFile]]) -> Loaded:
    """Return a case of one image file and mask files; an organ of several is their union.

    Raises InputError or GeometryError, here or when the masks are drawn.
    """
    _check_pointer(image)
    ct = read_image(image)
    return Loaded(ct.hu, ct.affine, _masks(organs, ct.hu.shape, ct.affine), list(ct.warnings))


def _masks(
    organs: Mapping[str, Sequence[MaskFile]], shape: tuple[int, ...], affine: np.ndarray
) -> Iterator[tuple[str, np.ndarray]]:
    # Sets with all organs in one file name it once an organ.
    path, read = None, None
    for key, sources in organs.items():
        mask = np.zeros(shape, dtype=bool)
        for source in sources:
            if source.path != path:
                path, read = source.path, read_labels(source.path)
            mask |= fitted(_chosen(read.label, source), read.affine, tuple(shape), affine, source.path.name)
        yield key, mask


def _chosen(label: np.ndarray, source: MaskFile) -> np.ndarray:
    name = source.path.name
    if int(label.min()) < 0:
        raise InputError(f"{name}: holds {int(label.min())}; expected label values from 0 on")
    if source.values is None:
        mask = label != 0
        different = np.unique(label[mask])
        if len(different) > 1:
            shown = ", ".join(map(str, different[:_SHOWN]))
            raise InputError(f"{name}: holds the values {shown}; expected the mask of one organ, 0 and one more value")
        return mask
    if source.highest is not None and int(label.max()) > source.highest:
        raise InputError(f"{name}: holds value {int(label.max())}; expected 0 to {source.highest}, the set's numbering")
    return np.isin(label, source.values)


def read_labels(path: Path) -> LabelMap:
    """Return the integers (i, j, k) of a NIfTI or NRRD file as they are stored, and their affine to RAS mm.

    Raises InputError (missing, damaged, a Git LFS pointer, no whole numbers) or GeometryError (the affine).
    """
    _check_pointer(path)
    if path.name.lower().endswith(NIFTI):
        return read_label_map(path, turn=False)
    if not path.name.lower().endswith(NRRD):
        raise InputError(f"{path.name} is no mask that can be read; expected {', '.join((*NIFTI, *NRRD))}")
    with reading_file(path, "NRRD"):
        label, affine, _ = load_nrrd(path)
        check_affine(affine, path.name)
        return whole_numbers(label, affine, path.name)


def fitted(
    mask: np.ndarray, affine: np.ndarray, shape: tuple[int, ...], image_affine: np.ndarray, name: str
) -> np.ndarray:
    """Return a mask (bool, its own axes) on the voxels of an image of ``shape`` and ``image_affine``.

    Nothing is resampled. Its axes may be stored in another order or direction, and it may cover a part of the image, as
    some programs crop a mask to what it holds; its voxels must be the image's. Raises GeometryError where they are not.
    """
    index = np.linalg.inv(image_affine) @ affine
    turn, shift = np.rint(index[:3, :3]), np.rint(index[:3, 3])
    last = np.array(mask.shape) - 1
    whole_steps = np.eye(4)
    whole_steps[:3, :3], whole_steps[:3, 3] = turn, shift
    there = corner_points(whole_steps, (0, 0, 0), last)
    mm = corner_points(image_affine @ whole_steps, (0, 0, 0), last) - corner_points(affine, (0, 0, 0), last)
    straight = (abs(turn).sum(axis=0) == 1).all() and (abs(turn).sum(axis=1) == 1).all()
    low, high = there.min(axis=0), there.max(axis=0)
    if not straight or abs(mm).max() > GRID_MM or (low < 0).any() or (high >= shape).any():
        raise GeometryError(
            f"{name}: {_grid(mask.shape, affine)} is another grid than the image's {_grid(shape, image_affine)}; "
            "give labels on the image's voxels"
        )
    mask = mask.transpose(abs(turn).argmax(axis=1))
    mask = mask[tuple(slice(None, None, int(sign)) for sign in turn.sum(axis=1))]
    if mask.shape == tuple(shape):
        return mask
    whole = np.zeros(shape, dtype=bool)
    whole[tuple(slice(int(a), int(b) + 1) for a, b in zip(low, high, strict=True))] = mask
    return whole


def _grid(shape: tuple[int, ...], affine: np.ndarray) -> str:
    spacing = voxel_spacing(affine)
    size, step = (" x ".join(f"{v:.4g}" for v in values) for values in (shape, spacing))
    return f"{size} voxels of {step} mm from ({', '.join(f'{v:.1f}' for v in affine[:3, 3])})"


def _check_pointer(path: Path) -> None:
    try:
        with path.open("rb") as file:
            pointer = file.read(len(_POINTER)) == _POINTER
    except OSError as error:
        raise InputError(f"{path.name} cannot be read ({error.strerror}); download the set again") from error
    if pointer:
        raise InputError(f"{path.name} is a Git LFS pointer, not the file itself; run git lfs pull in the repository")
