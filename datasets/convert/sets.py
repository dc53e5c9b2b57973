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


def _data_set(name: str, list_cases: Callable[..., Listing], named: bool = False, numbered: bool = False) -> DataSet:
    """Return a set; ``list_cases`` takes the folder, the names where it is ``named``, the numbers if ``numbered``."""
    facts, count = file_sets.FACTS[name], 1 + named + numbered
    return DataSet(
        facts["title"], facts["licence"], facts["source"], lambda *given: list_cases(*given[:count]), named, numbered
    )


SETS = {
    "pddca": _data_set("pddca", file_sets.list_pddca),
    "deepmind": _data_set("deepmind", file_sets.list_deepmind),
    "han-seg": _data_set("han-seg", file_sets.list_han_seg),
    "segrap": _data_set("segrap", file_sets.list_segrap),
    "structseg": _data_set("structseg", file_sets.list_structseg),
    "openkbp": _data_set("openkbp", list_openkbp),
    "nnunet": _data_set("nnunet", list_nnunet, named=True),
    "dicom": _data_set("dicom", list_structure_sets, named=True, numbered=True),
}
