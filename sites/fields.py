"""Reads a JSON object of a site table into a dataclass: every field known, of its kind and finite, or one clear error.

>>> build(Localizer, row, LOCALIZER, "localizer")                  # doctest: +SKIP
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Collection, Mapping
from typing import Any

Field = Callable[[object], Any]
# No size, volume or label comes near it, and what is larger breaks arithmetic and messages.
LARGEST = 1e6


def text(value: object) -> str:
    """A string that says something, on one line."""
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise ValueError("a text of one line")
    return value


def number(value: object) -> float:
    """A finite number; JSON's true, NaN and Infinity are none."""
    # NaN is not smaller than anything.
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < LARGEST:
        raise ValueError("a number")
    return value


def whole(value: object) -> int:
    """A whole number."""
    if isinstance(value, bool) or not isinstance(value, int) or not abs(value) < LARGEST:
        raise ValueError("a whole number")
    return value


def flag(value: object) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise ValueError("true or false")
    return value


def several(field: Field, count: int | None = None) -> Field:
    """A list of ``count`` (any number of, without one) values of one kind, as a tuple."""

    def read(value: object) -> tuple:
        kind = f"a list of {'texts' if field is text else 'numbers'}" if count is None else f"{count} numbers"
        if not isinstance(value, list) or count not in (None, len(value)):
            raise ValueError(kind)
        try:
            return tuple(field(item) for item in value)
        except ValueError as error:
            raise ValueError(f"{'whole numbers' if field is whole else kind}") from error

    return read


def maybe(field: Field) -> Field:
    """``null``, or what ``field`` takes."""
    return lambda value: None if value is None else field(value)


def build(
    kind: type, row: object, fields: Mapping[str, Field], optional: Collection[str], where: str, **more: Any
) -> Any:
    """``kind`` from the JSON object ``row``, whose fields are ``fields``; those in ``optional`` may be absent.

    ``where`` names the row in messages; ``more`` goes to ``kind`` as it is. Raises ValueError, one line.
    """
    if not isinstance(row, dict):
        raise ValueError(f"{where} is {reprlib.repr(row)}, expected an object")
    unknown, missing = sorted(set(row) - set(fields)), sorted(set(fields) - set(row) - set(optional))
    if unknown:
        raise ValueError(f"{where} has the unknown field {unknown[0]!r}; expected: {', '.join(fields)}")
    if missing:
        raise ValueError(f"{where} lacks {missing[0]!r}")
    values = {}
    for name, value in row.items():
        try:
            values[name] = fields[name](value)
        except ValueError as error:
            raise ValueError(f"{where}: {name} is {reprlib.repr(value)}, expected {error}") from error
    return kind(**values, **more)


def no_duplicates(pairs: list[tuple[str, object]]) -> dict:
    """``object_pairs_hook`` of JSON: a field that stands twice is an error, not silently the last of both."""
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the field {next(n for n in names if names.count(n) > 1)!r} stands twice in one object")
    return content
