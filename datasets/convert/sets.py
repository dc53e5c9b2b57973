"""The sets there are: how each is listed, and what its licence asks for. Sources: ``docs/datasets.md``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from oarseg.datasets.convert import file_sets
from oarseg.datasets.convert.cases import Listing
from oarseg.datasets.convert.nnunet import list_nnunet
from oarseg.datasets.convert.numbers import Numbers
from oarseg.datasets.convert.openkbp import list_openkbp
from oarseg.datasets.convert.structure_sets import list_structure_sets
from oarseg.sites.roi_names import NameTable

UNKNOWN = "not stated here; whoever made the data knows"


@dataclass(frozen=True)
class DataSet:
    """``list_cases``: from the folder, the table of names and the numbers in place of patients.

    ``named``: whether names come from outside, so that a map of one's own makes sense. ``numbered``: whether cases are
    numbered, as their names may be patients'.
    """

    title: str
    licence: str
    source: str
    list_cases: Callable[[Path, NameTable, Numbers], Listing]
    named: bool = False
    numbered: bool = False


def _by_folder(list_folder: Callable[[Path], Listing]) -> Callable[[Path, NameTable, Numbers], Listing]:
    return lambda source, names, numbers: list_folder(source)


SETS = {
    "pddca": DataSet(
        "PDDCA 1.4.1 (MICCAI 2015 head and neck auto-segmentation challenge)",
        "given to the community by its authors, who ask to be cited (Raudaschl et al., Med. Phys. 44, 2017); the CTs "
        "are those of TCIA's Head-Neck Cetuximab, under TCIA's terms",
        "https://www.imagenglab.com/newsite/pddca/",
        _by_folder(file_sets.list_pddca),
    ),
    "deepmind": DataSet(
        "TCIA test and validation radiotherapy CT planning scan dataset (DeepMind, UCLH)",
        "CC BY 4.0 for the contours; the CTs are TCIA's Head-Neck Cetuximab and TCGA-HNSC, under TCIA's terms. "
        "Cite Nikolov et al., J. Med. Internet Res. 23, 2021",
        "https://github.com/google-deepmind/tcia-ct-scan-dataset",
        _by_folder(file_sets.list_deepmind),
    ),
    "han-seg": DataSet(
        "HaN-Seg",
        "CC BY-NC-ND 4.0: not for commercial use, and what is derived from it, this conversion too, must not be "
        "passed on. Cite Podobnik et al., Med. Phys. 50, 2023",
        "https://doi.org/10.5281/zenodo.7442914",
        _by_folder(file_sets.list_han_seg),
    ),
    "segrap": DataSet(
        "SegRap2023, training set",
        "by a signed agreement with its organisers, whose terms hold; a redistribution names CC BY-NC 4.0. "
        "Cite Luo et al., Med. Image Anal. 2025 (arXiv:2312.09576)",
        "https://segrap2023.grand-challenge.org/dataset/",
        _by_folder(file_sets.list_segrap),
    ),
    "structseg": DataSet(
        "StructSeg 2019, task 1 (HaN_OAR)",
        "no published licence; given to participants of the challenge on their own terms",
        "https://structseg2019.grand-challenge.org/",
        _by_folder(file_sets.list_structseg),
    ),
    "openkbp": DataSet(
        "OpenKBP",
        "MIT (the repository); patients of TCIA. Cite Babier et al., Med. Phys. 48, 2021",
        "https://github.com/ababier/open-kbp",
        _by_folder(list_openkbp),
    ),
    "nnunet": DataSet(
        "nnU-Net raw folder",
        UNKNOWN,
        "a folder in nnU-Net's raw format",
        lambda source, names, numbers: list_nnunet(source, names),
        named=True,
    ),
    "dicom": DataSet(
        "DICOM CTs with structure sets",
        UNKNOWN,
        "folders of DICOM CT and RTSTRUCT",
        list_structure_sets,
        named=True,
        numbered=True,
    ),
}
