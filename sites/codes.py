"""SNOMED CT codes of organs by TG-263 name, as DICOM's Segmentation objects ask for (PS3.3 C.8.20.2, PS3.16).

>>> segment_codes("Kidney_L").property_type
Code(value='64033007', meaning='Kidney', scheme='SCT')

The codes and their meanings are those of DICOM PS3.16, and a test compares them with pydicom's copy of it: categories
of CID 7150, sides of CID 244, and types of CID 9514 (anatomical structure for radiotherapy), but for the optic nerve
(CID 7710) and the head of the femur (CID 1000), which CID 9514 lacks; it may be extended.
"""

from __future__ import annotations

from dataclasses import dataclass

from oarseg.errors import ConfigError
from oarseg.sites.table import CODES, facts


@dataclass(frozen=True)
class Code:
    """A coded concept: ``value`` in ``scheme`` (SCT: SNOMED CT), and what it means."""

    value: str
    meaning: str
    scheme: str = "SCT"


@dataclass(frozen=True)
class SegmentCodes:
    """What a segment is: Segmented Property Category, Type, and Type Modifier (the side; None in the middle)."""

    category: Code
    property_type: Code
    modifier: Code | None


def segment_codes(name: str) -> SegmentCodes:
    """Return the codes of the organ with the TG-263 ``name``. Raises ConfigError where the table has none."""
    table = facts(CODES)
    if name not in table["types"]:
        known = ", ".join(table["types"])
        raise ConfigError(f"no SNOMED CT code for {name!r}; add it to sites/{CODES}, which has: {known}")
    side = table["modifiers"].get(name[-1]) if name[-2:] in ("_L", "_R") else None
    modifier = Code(**side) if side else None
    return SegmentCodes(Code(**table["category"]), Code(**table["types"][name]), modifier)
