"""Elements of data sets that may be damaged: pydicom decodes a value on first use, and raises nearly anything."""

from __future__ import annotations

from typing import Any

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from oarseg.errors import InputError


def value_of(dataset: Dataset, keyword: str, where: str) -> Any:
    """Return the value of an element, None where it is missing or empty.

    ``where``: the file, for the message. Raises InputError where the value cannot be decoded.
    """
    try:
        value = dataset[keyword].value if keyword in dataset else None
        return None if value is None or (isinstance(value, str | bytes) and not value) else value
    except Exception as error:  # noqa: BLE001 - letters in a number, a length that does not fit, an unknown VR, ...
        raise InputError(f"{where}: {keyword} cannot be read ({type(error).__name__}); export it again") from error


def text_of(dataset: Dataset, keyword: str, where: str) -> str:
    """Return the value as stripped text, "" where there is none. Raises InputError as :func:`value_of` does."""
    value = value_of(dataset, keyword, where)
    return "" if value is None else str(value).strip()


def items_of(dataset: Dataset, keyword: str, where: str) -> list[Dataset]:
    """Return the items of a sequence, none where it is missing or empty.

    Raises InputError where it cannot be decoded or is no sequence.
    """
    value = value_of(dataset, keyword, where)
    if value is None:
        return []
    if not isinstance(value, Sequence):
        raise InputError(f"{where}: {keyword} is no sequence of items; export it again")
    return list(value)
