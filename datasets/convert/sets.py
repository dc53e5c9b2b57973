"""The sets there are, and how each is listed. Titles, licences and sources: ``public_sets.json``."""

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


_LISTED: dict[str, Callable[[Path], Listing]] = {
    "pddca": file_sets.list_pddca,
    "deepmind": file_sets.list_deepmind,
    "han-seg": file_sets.list_han_seg,
    "segrap": file_sets.list_segrap,
    "structseg": file_sets.list_structseg,
    "openkbp": list_openkbp,
}


def _data_set(name: str, list_cases: Callable, **kind: bool) -> DataSet:
    facts = file_sets.FACTS[name]
    return DataSet(facts["title"], facts["licence"], facts["source"], list_cases, **kind)


SETS = {name: _data_set(name, _by_folder(list_folder)) for name, list_folder in _LISTED.items()} | {
    "nnunet": _data_set("nnunet", lambda source, names, numbers: list_nnunet(source, names), named=True),
    "dicom": _data_set("dicom", list_structure_sets, named=True, numbered=True),
}
