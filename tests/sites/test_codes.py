"""The SNOMED CT codes against DICOM PS3.16 as pydicom has it."""

from __future__ import annotations

import pytest
from pydicom.sr.codedict import codes

from oarseg.errors import ConfigError
from oarseg.sites import load_site
from oarseg.sites.codes import Code, segment_codes
from oarseg.sites.table import CODES, facts, known_sites


def in_standard(meaning: str) -> tuple[str, str, str]:
    """Value, scheme and meaning of the SCT concept that PS3.16 calls ``meaning``."""
    found = getattr(codes.SCT, "".join(word[0].upper() + word[1:] for word in meaning.split()))
    return found.value, found.scheme_designator, found.meaning


def standard(code: Code) -> None:
    assert (code.value, code.scheme, code.meaning) == in_standard(code.meaning)


@pytest.mark.parametrize("tg263", facts(CODES)["types"])
def test_codes_are_those_of_the_standard(tg263: str) -> None:
    found = segment_codes(tg263)
    standard(found.category)
    standard(found.property_type)
    if found.modifier:
        standard(found.modifier)


@pytest.mark.parametrize("site", known_sites())
def test_every_organ_of_every_site_has_codes_and_its_own_side(site: str) -> None:
    seen = set()
    for organ in load_site(site).organs:
        found = segment_codes(organ.name)
        side = {"left": "Left", "right": "Right"}.get(organ.key.rpartition("_")[2])
        assert (found.modifier.meaning if found.modifier else None) == side
        seen.add((found.property_type, found.modifier))
    assert len(seen) == len(load_site(site).organs), "two organs with one code could not be told apart"


def test_category_and_context_groups() -> None:
    assert segment_codes("Heart").category.meaning == codes.cid7150.AnatomicalStructure.meaning
    assert segment_codes("Lung_L").modifier.value == codes.cid244.Left.value
    assert segment_codes("Lung_R").modifier.value == codes.cid244.Right.value
    listed = {getattr(codes.cid9514, keyword).value for keyword in codes.cid9514.dir()}
    outside = {name for name in facts(CODES)["types"] if segment_codes(name).property_type.value not in listed}
    assert outside == {"OpticNrv_L", "OpticNrv_R", "Femur_Head_L", "Femur_Head_R"}


def test_an_unknown_name_says_where_codes_are() -> None:
    with pytest.raises(ConfigError, match="no SNOMED CT code for 'Elbow_L'; add it to sites/snomed.json"):
        segment_codes("Elbow_L")
