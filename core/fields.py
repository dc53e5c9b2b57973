"""Read an object of a JSON or TOML file into a class: every field known, of its kind and finite, or one clear error.

>>> build(dict, {"port": 104}, {"port": whole}, (), "[node]")
{'port': 104}
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Collection, Mapping
from typing import Any

# Takes a value of the file and returns it as the program uses it. Raises ValueError whose text is what was expected.
Reader = Callable[[Any], Any]
# No size, volume, label, number of seconds, days or GiB comes near it; larger ones break arithmetic and messages.
LARGEST = 1e6


def text(value: object) -> str:
    """Return a string of one line that is not blank."""
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise ValueError("a text of one line")
    return value


def number(value: object) -> float:
    """Return a finite number; JSON's true, NaN and Infinity are none."""
    # NaN is not smaller than anything.
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < LARGEST:
        raise ValueError("a number")
    return value


def whole(value: object) -> int:
    """Return a whole number."""
    if isinstance(value, bool) or not isinstance(value, int) or not abs(value) < LARGEST:
        raise ValueError("a whole number")
    return value


def flag(value: object) -> bool:
    """Return true or false."""
    if not isinstance(value, bool):
        raise ValueError("true or false")
    return value


def checked(read: Reader, accepts: Callable[[Any], bool], expected: str) -> Reader:
    """Return a reader of what ``read`` takes and ``accepts`` finds good; ``expected`` is the text of its error."""

    def read_checked(value: object) -> Any:
        try:
            if accepts(found := read(value)):
                return found
        except ValueError:
            pass
        raise ValueError(expected)

    return read_checked


def one_of(*choices: str) -> Reader:
    """Return a reader of one of the texts."""
    return checked(text, lambda value: value in choices, f"one of {', '.join(choices)}")


def several(read: Reader, count: int | None = None) -> Reader:
    """Return a reader of a list of ``count`` (any number of, without one) values of one kind, as a tuple."""

    def read_all(value: object) -> tuple:
        kind = f"a list of {'texts' if read is text else 'numbers'}" if count is None else f"{count} numbers"
        if not isinstance(value, list) or count not in (None, len(value)):
            raise ValueError(kind)
        try:
            return tuple(read(item) for item in value)
        except ValueError as error:
            raise ValueError(f"{'whole numbers' if read is whole else kind}") from error

    return read_all


def each_once(read: Reader, least: int = 0) -> Reader:
    """Return a reader of a list of at least ``least`` different values, as a tuple."""

    def read_all(value: object) -> tuple:
        if not isinstance(value, list) or len(value) < least:
            raise ValueError(f"a list of {least} or more")
        found = tuple(read(item) for item in value)
        if len(set(found)) < len(found):
            raise ValueError("each once")
        return found

    return read_all


def maybe(read: Reader) -> Reader:
    """Return a reader of ``null``, or of what ``read`` takes."""
    return lambda value: None if value is None else read(value)


def build(
    kind: type, row: object, fields: Mapping[str, Reader], optional: Collection[str], where: str, **more: Any
) -> Any:
    """Return ``kind`` of the object ``row``, whose fields are ``fields``; those in ``optional`` may be absent.

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
