"""OpenKBP: each volume a CSV file of those voxels that are not 0.

A file's first line is ``,data``; then a line a voxel: its index into a volume of 128 x 128 x 128, and its value (of
masks, nothing). The axes of that volume count towards posterior, left and inferior, which the set does not state:
established on its patients (parotids against brainstem and mandible, and against the same patients elsewhere).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from oarseg.datasets.convert.cases import Listing, Loaded, SourceCase, folders_with
from oarseg.errors import InputError
from oarseg.files import reading_file
from oarseg.geometry.check_ct import check_affine, check_ct

SHAPE = (128, 128, 128)
# What was added to HU so that air is 0. The set does not state it; with 1000, soft tissue lies at 10 to 60 HU.
AIR_HU = -1000
HIGHEST = 4095
MAX_BYTES = 64 << 20
FILES = {
    "brainstem": "Brainstem.csv",
    "mandible": "Mandible.csv",
    "parotid_left": "LeftParotid.csv",
    "parotid_right": "RightParotid.csv",
}
IMAGE, SPACING = "ct.csv", "voxel_dimensions.csv"
# What the folders hold besides structures.
_OTHERS = ("ct", "dose", "possible_dose_mask", "voxel_dimensions")


def list_openkbp(source: Path) -> Listing:
    """``provided-data/{train,valid,test}-pats/pt_1/*.csv``."""
    listing = Listing()
    for folder in folders_with(source, lambda f: f.name.startswith("pt_") and (f / IMAGE).is_file()):
        organs = {key: folder / file for key, file in FILES.items() if (folder / file).is_file()}
        missing = [] if (folder / SPACING).is_file() else [SPACING]
        if missing or not organs:
            lacking = ", ".join(missing) or "every organ of the table"
            listing.refused[folder.name] = f"lacks {lacking}; download it again"
            continue
        listing.known.update((path.stem, key) for key, path in organs.items())
        names = (p.stem for p in folder.glob("*.csv") if p not in organs.values())
        listing.unknown.update(name for name in names if name not in _OTHERS)
        files = (folder / IMAGE, folder / SPACING, *organs.values())
        made_of = {key: path.name for key, path in organs.items()}
        listing.cases.append(SourceCase(folder.name, folder.name, files, made_of, partial(load, folder, organs)))
    return listing.checked(source, f"folders pt_N with {IMAGE}, {SPACING} and CSV files of structures")


def load(folder: Path, organs: Mapping[str, Path]) -> Loaded:
    """Return one patient, its axes turned to left, posterior, superior. Raises InputError or GeometryError."""
    spacing = _read(folder / SPACING, lambda path: np.loadtxt(path, dtype=float, ndmin=1, max_rows=4).ravel())
    # NaN fails the comparison; a negative number would pass for a flipped axis.
    if spacing.shape != (3,) or not (spacing > 0).all():
        raise InputError(f"{SPACING}: {spacing[:4].tolist()}, expected three positive numbers (mm); download it again")
    down, left, across = spacing
    affine = np.diag([-left, -down, across, 1.0])
    check_affine(affine, SPACING)
    index, value = _sparse(folder / IMAGE)
    if not (np.isfinite(value).all() and value.min() >= 0 and value.max() <= HIGHEST):
        raise InputError(f"{IMAGE}: values from {value.min():g} to {value.max():g}, expected 0 to {HIGHEST}")
    hu = np.full(SHAPE, AIR_HU, dtype=np.int16)
    hu.flat[index] = np.rint(value) + AIR_HU
    hu = _turned(hu)
    notes = check_ct(hu, affine, IMAGE)
    return Loaded(hu, affine, _masks(organs), [note.removeprefix(f"{IMAGE}: ") for note in notes])


def _masks(organs: Mapping[str, Path]) -> Iterator[tuple[str, np.ndarray]]:
    for key, path in organs.items():
        mask = np.zeros(SHAPE, dtype=bool)
        mask.flat[_sparse(path, values=False)[0]] = True
        yield key, _turned(mask)


def _turned(volume: np.ndarray) -> np.ndarray:
    """Posterior, left, inferior -> left, posterior, superior."""
    return np.ascontiguousarray(volume.transpose(1, 0, 2)[:, :, ::-1])


def _sparse(path: Path, values: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Return indices into the volume, and values; zeros without ``values``."""
    read = partial(np.loadtxt, dtype=float, delimiter=",", skiprows=1, ndmin=2, usecols=(0, 1) if values else (0,))
    table = _read(path, read)
    index = table[:, 0] if table.size else np.zeros(0)
    count = int(np.prod(SHAPE))
    whole = np.isfinite(index).all() and (index == np.rint(index)).all()
    if not whole or (index < 0).any() or (index >= count).any() or len(np.unique(index)) != len(index):
        raise InputError(f"{path.name}: expected indices from 0 to {count - 1}, whole and each once; download it again")
    if values and not len(index):
        raise InputError(f"{path.name}: no voxel; download it again")
    return index.astype(np.int64), table[:, 1] if values else np.zeros(len(index))


def _read(path: Path, read: object) -> np.ndarray:
    with reading_file(path, "CSV file of OpenKBP"):
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{path.name} is larger than {MAX_BYTES >> 20} MiB, so none of OpenKBP's files")
        if path.name != SPACING:
            with path.open(encoding="ascii") as file:
                head = file.readline(64).strip()
            if head != ",data":
                raise InputError(f"{path.name} begins with {head[:20]!r}, expected ',data'; download it again")
        return read(path)
