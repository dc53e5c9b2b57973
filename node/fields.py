"""A section of the TOML file as a dataclass: unknown keys, missing keys, types and ranges, each with its own message.

A check takes the value (of a list, each one) and returns None, or what was expected.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from oarseg.errors import ConfigError

Check = Callable[[Any], str | None]
T = TypeVar("T")
LONGEST_TITLE = 16
# Of any number of seconds, hours, days, MiB or GiB: what no clock, socket or disk here has.
LARGEST = 1e6
_KINDS = {
    "str": (str, "text"),
    "Path": (str, "a path"),
    "Path | None": (str, "a path"),
    "int": (int, "a whole number"),
    "float": ((int, float), "a number"),
    "bool": (bool, "true or false"),
}


def build(kind: type[T], values: Any, where: str, base: Path) -> T:
    """A ``kind`` of the TOML table ``values``. Raises ConfigError that begins with ``where``."""
    if not isinstance(values, dict):
        raise ConfigError(f"{where} is {type(values).__name__}, expected a table")
    fields = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    if unknown := sorted(set(values) - set(fields)):
        raise ConfigError(f"{where} has an unknown key {unknown[0]!r}; known: {', '.join(fields)}")
    given = {}
    for key, one in fields.items():
        if key in values:
            given[key] = _value(one, values[key], f"{where} {key}", base)
        elif one.default is dataclasses.MISSING:
            raise ConfigError(f"{where} {key} is missing")
    return kind(**given)


def _value(one: dataclasses.Field, value: Any, where: str, base: Path) -> Any:
    check = one.metadata.get("check", lambda value: None)
    if str(one.type).startswith("tuple"):
        if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
            raise ConfigError(f"{where} is {value!r}, expected a list of texts")
        if not value and one.default != ():
            raise ConfigError(f"{where} is empty, expected one or more")
        if len(set(value)) < len(value):
            raise ConfigError(f"{where} is {value!r}, expected each once")
        for item in value:
            _judge(check, item, where)
        return tuple(value)
    wanted, words = _KINDS[str(one.type)]
    # In Python, true is a number.
    if not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool):
        raise ConfigError(f"{where} is {value!r}, expected {words}")
    if str(one.type).startswith("Path"):
        if not value or "\0" in value:
            raise ConfigError(f"{where} is {value!r}, expected a path")
        return base / value
    _judge(check, value, where)
    return float(value) if str(one.type) == "float" else value


def _judge(check: Check, value: Any, where: str) -> None:
    if expected := check(value):
        raise ConfigError(f"{where} is {value!r}, expected {expected}")


def ae_title(value: str) -> str | None:
    """1 to 16 characters, printable ASCII without backslash, no spaces around."""
    good = 0 < len(value) <= LONGEST_TITLE and value.isascii() and value.isprintable() and "\\" not in value
    return None if good and value == value.strip() else f"1 to {LONGEST_TITLE} printable ASCII characters"


def allowed_title(value: str) -> str | None:
    """An AE title, or "*"."""
    return ae_title(value)


def network(value: str) -> str | None:
    """An address or a network in CIDR notation."""
    try:
        ipaddress.ip_network(value)
    except ValueError:
        return "an address or a network such as 192.0.2.0/24"
    return None


def loopback(value: str) -> str | None:
    """An address of this machine alone."""
    try:
        return None if ipaddress.ip_address(value).is_loopback else "a loopback address, 127.0.0.1 or ::1"
    except ValueError:
        return "a loopback address, 127.0.0.1 or ::1"


def host(value: str) -> str | None:
    """A name or address."""
    return None if value and not re.search(r"\s", value) else "a name or an address"


def name(value: str) -> str | None:
    """Letters, digits, - and _; it stands in logs and metrics."""
    return None if re.fullmatch(r"[A-Za-z0-9_-]{1,40}", value) else "1 to 40 letters, digits, - or _"


def port(value: int) -> str | None:
    """A TCP port."""
    return None if 1 <= value <= 65535 else "1 to 65535"


def count(value: int) -> str | None:
    """One or more."""
    return None if value >= 1 else "1 or more"


def above_zero(value: float) -> str | None:
    """Positive."""
    return None if 0 < value <= LARGEST else f"more than 0, at most {LARGEST:.0f}"


def at_least_zero(value: float) -> str | None:
    """Not negative."""
    return None if 0 <= value <= LARGEST else f"0 or more, at most {LARGEST:.0f}"


def one_of(*choices: str) -> Check:
    """One of the texts."""
    return lambda value: None if value in choices else f"one of {', '.join(choices)}"
