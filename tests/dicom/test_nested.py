"""Values that cannot be decoded are one clear error."""

from __future__ import annotations

import pytest
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag

from oarseg.dicom.guards.nested import items_of, text_of, value_of
from oarseg.errors import InputError


def test_values_texts_and_items() -> None:
    item = Dataset()
    item.ROIName, item.ROINumber, item.ROIDescription = " Brainstem ", 3, ""
    item.ContourSequence = Sequence([Dataset()])
    assert text_of(item, "ROIName", "file") == "Brainstem" and value_of(item, "ROINumber", "file") == 3
    assert value_of(item, "ROIDescription", "file") is None and text_of(item, "PatientID", "file") == ""
    assert len(items_of(item, "ContourSequence", "file")) == 1 and items_of(item, "ROIContourSequence", "file") == []
    with pytest.raises(InputError, match="file: ROIName is no sequence"):
        items_of(item, "ROIName", "file")


def test_a_value_of_the_wrong_length() -> None:
    item, tag = Dataset(), Tag("ROINumber")
    item[tag] = RawDataElement(tag, "FD", 1, b"\0", 0, False, True)
    for read in (value_of, text_of, items_of):
        with pytest.raises(InputError, match="file: ROINumber cannot be read"):
            read(item, "ROINumber", "file")
