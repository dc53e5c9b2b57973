"""Public sets of one image file and mask files a case: what each calls its files, and which organ they are.

Names and values (``public_sets.json``) are those of the sets' own documentation or of code that reads them;
``docs/datasets.md`` has the sources. An organ that a set draws in parts is the union of them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from oarseg.datasets.convert.cases import Listing, SourceCase, folders_with
from oarseg.datasets.convert.volumes import MaskFile, load_files

# Of each set: title, licence, source, and by organ key its mask files' names without ending, or values in label maps.
FACTS = json.loads(Path(__file__).with_name("public_sets.json").read_text(encoding="utf-8"))
SEGRAP_CASES = "SegRap2023_Training_Set_120cases"
NIFTI = (".nii.gz", ".nii")


def list_pddca(source: Path) -> Listing:
    """``0522c0001/img.nrrd`` and ``0522c0001/structures/*.nrrd``, in any of the parts."""
    listing = Listing()
    for folder in folders_with(source, lambda f: (f / "img.nrrd").is_file()):
        _add(listing, folder.name, folder.name, folder / "img.nrrd", _masks(folder / "structures", ".nrrd"), "pddca")
    return listing.checked(source, "folders with img.nrrd and structures/*.nrrd")


def list_deepmind(source: Path) -> Listing:
    """``nrrds/{test,validation}/oncologist/ID/CT_IMAGE.nrrd`` and ``segmentations/*.nrrd``: the ground truth.

    The radiographers' contours of the same CTs are a second opinion and left out.
    """
    listing = Listing()
    for folder in folders_with(source, lambda f: (f / "CT_IMAGE.nrrd").is_file()):
        if folder.parent.name == "oncologist":
            masks = _masks(folder / "segmentations", ".nrrd")
            # 0522c0727a and 0522c0727b are two scans of one patient, whom PDDCA calls 0522c0727.
            patient = re.sub(r"(?<=\d)[a-z]$", "", folder.name)
            _add(listing, folder.name, patient, folder / "CT_IMAGE.nrrd", masks, "deepmind")
    return listing.checked(source, "folders oncologist/ID with CT_IMAGE.nrrd and segmentations/*.nrrd")


def list_han_seg(source: Path) -> Listing:
    """``set_1/case_01/case_01_IMG_CT.nrrd`` and ``case_01_OAR_*.seg.nrrd``; the MR is left out."""

    def image(folder: Path) -> Path:
        return folder / f"{folder.name}_IMG_CT.nrrd"

    listing = Listing()
    for folder in folders_with(source, lambda f: image(f).is_file()):
        start = f"{folder.name}_OAR_"
        masks = {n.removeprefix(start): p for n, p in _masks(folder, ".seg.nrrd").items() if n.startswith(start)}
        _add(listing, folder.name, folder.name, image(folder), masks, "han-seg")
    return listing.checked(source, "folders case_NN with case_NN_IMG_CT.nrrd and case_NN_OAR_*.seg.nrrd")


def list_segrap(source: Path) -> Listing:
    """``segrap_0000/image.nii.gz`` (without contrast agent) with a mask file an organ, or label maps in Task001.

    Masks lie beside the image, or, corrected, in the folder of the set's name with ``_Update_Labels``.
    """
    listing = Listing()
    for folder in folders_with(source, lambda f: f.name.startswith("segrap_") and (f / "image.nii.gz").is_file()):
        around, name = folder.parent.parent, folder.name
        masks = _masks(around / f"{SEGRAP_CASES}_Update_Labels" / name, ".nii.gz") or _masks(folder, ".nii.gz")
        masks = {n: p for n, p in masks.items() if not n.startswith("image")}
        whole = around / f"{SEGRAP_CASES}_OneHot_Labels" / "Task001" / f"{name}.nii.gz"
        if not masks and whole.is_file():
            _add_map(listing, name, folder / "image.nii.gz", whole, "segrap")
        else:
            _add(listing, name, name, folder / "image.nii.gz", masks, "segrap")
    return listing.checked(source, "folders segrap_NNNN with image.nii.gz and masks, as the two zip files hold them")


def list_structseg(source: Path) -> Listing:
    """``HaN_OAR/1/data.nii.gz`` and ``HaN_OAR/1/label.nii.gz`` (or ``.nii``)."""
    listing = Listing()
    for folder in folders_with(source, lambda f: _first(f, "data") is not None):
        name, label = f"structseg_{folder.name}", _first(folder, "label")
        if label is None:
            listing.refused[name] = "data.nii.gz without label.nii.gz; download the set again"
        else:
            _add_map(listing, name, _first(folder, "data"), label, "structseg")
    return listing.checked(source, "folders 1, 2, ... with data.nii.gz and label.nii.gz (Task1_HaN_OAR)")


def _first(folder: Path, stem: str) -> Path | None:
    return next((folder / (stem + end) for end in NIFTI if (folder / (stem + end)).is_file()), None)


def _masks(folder: Path, end: str) -> dict[str, Path]:
    """Mask files by name without ending."""
    if not folder.is_dir():
        return {}
    return {p.name.removesuffix(end): p for p in sorted(folder.iterdir()) if p.name.endswith(end) and p.is_file()}


def _add(listing: Listing, name: str, patient: str, image: Path, masks: Mapping[str, Path], kind: str) -> None:
    """Add a case of one mask file an organ. An organ of which a part is missing is not there."""
    names = FACTS[kind]["masks"]
    organs = {k: tuple(MaskFile(masks[p]) for p in parts) for k, parts in names.items() if masks.keys() >= set(parts)}
    listing.known.update((part, key) for key in organs for part in names[key])
    used = {part for key in organs for part in names[key]}
    parts_of = {part: key for key, parts in names.items() for part in parts}
    for mask in masks.keys() - used:
        listing.unknown[f"{mask} (a part of {parts_of[mask]} without the rest)" if mask in parts_of else mask] += 1
    _put(listing, name, patient, image, organs)


def _add_map(listing: Listing, name: str, image: Path, label: Path, kind: str) -> None:
    values, highest = FACTS[kind]["values"], FACTS[kind]["highest"]
    listing.known.update((f"value {v}", key) for key, many in values.items() for v in many)
    _put(listing, name, name, image, {key: (MaskFile(label, tuple(v), highest),) for key, v in values.items()})


def _put(listing: Listing, name: str, patient: str, image: Path, organs: Mapping[str, tuple[MaskFile, ...]]) -> None:
    if not organs:
        listing.refused[name] = "no mask of an organ of the table; is the download whole?"
        return
    files = (image, *dict.fromkeys(mask.path for masks in organs.values() for mask in masks))
    made_of = {key: " + ".join(mask.described for mask in masks) for key, masks in organs.items()}
    listing.cases.append(SourceCase(name, patient, files, made_of, partial(load_files, image, organs)))
