"""The node's settings: one TOML file, checked field by field before anything starts.

>>> config = read_config("node.toml")                              # doctest: +SKIP
>>> config.node.ae_title, config.destinations[0].host              # doctest: +SKIP
"""

from __future__ import annotations

import ipaddress
import os
import re
import tomllib
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from oarseg.errors import ConfigError
from oarseg.fields import LARGEST, Reader, build, checked, each_once, flag, number, one_of, text, whole

EXAMPLE = Path(__file__).with_name("example.toml")
FORMATS = ("rtstruct", "seg")
MIB, GIB = 1 << 20, 1 << 30
LONGEST_TITLE = 16


def _setting(read: Reader, default: Any = MISSING) -> Any:
    """Return a field of a section and how its value is read."""
    return field(default=default, metadata={"read": read})


def _is_title(value: str) -> bool:
    return len(value) <= LONGEST_TITLE and value.isascii() and "\\" not in value and value == value.strip()


def _is_network(value: str) -> bool:
    ipaddress.ip_network(value)
    return True


AE_TITLE = checked(text, _is_title, f"1 to {LONGEST_TITLE} printable ASCII characters")
NETWORK = checked(text, _is_network, "an address or a network such as 192.0.2.0/24")
LOOPBACK = checked(text, lambda v: ipaddress.ip_address(v).is_loopback, "a loopback address, 127.0.0.1 or ::1")
HOST = checked(text, lambda v: not re.search(r"\s", v), "a name or an address")
# It stands in logs and metrics.
NAME = checked(text, lambda v: bool(re.fullmatch(r"[A-Za-z0-9_-]{1,40}", v)), "1 to 40 letters, digits, - or _")
PORT = checked(whole, lambda v: 1 <= v <= 65535, "a whole number, 1 to 65535")
PORT_OR_NONE = checked(whole, lambda v: 0 <= v <= 65535, "a whole number, 0 (none) to 65535")
COUNT = checked(whole, lambda v: v >= 1, "a whole number, 1 or more")
ABOVE_ZERO = checked(lambda v: float(number(v)), lambda v: v > 0, f"a number above 0 and below {LARGEST:.0f}")
NOT_NEGATIVE = checked(lambda v: float(number(v)), lambda v: v >= 0, f"a number of 0 or more, below {LARGEST:.0f}")
# Relative to the file's folder, see ``_section``.
PATH = checked(lambda v: Path(text(v)), lambda v: True, "a path")


@dataclass(frozen=True)
class Listen:
    """``[node]``: who it is, where it listens, where it keeps what it received.

    ``quiet_seconds``: from the end of the last association that brought slices of a series until the series counts as
    whole. ``stop_seconds``: given to the work under way when the node is to end.
    """

    ae_title: str = _setting(AE_TITLE)
    spool: Path = _setting(PATH)
    address: str = _setting(text, "0.0.0.0")
    port: int = _setting(PORT, 11112)
    quiet_seconds: float = _setting(NOT_NEGATIVE, 4.0)
    stop_seconds: float = _setting(NOT_NEGATIVE, 60.0)


@dataclass(frozen=True)
class Allow:
    """``[allow]``: who may send. ``ae_titles``: "*" for any. ``peers``: addresses or networks."""

    ae_titles: tuple[str, ...] = _setting(each_once(AE_TITLE, 1))
    peers: tuple[str, ...] = _setting(each_once(NETWORK, 1), ("127.0.0.0/8", "::1/128"))


@dataclass(frozen=True)
class Limits:
    """``[limits]``: what is more is refused with a DICOM status. ``free_gib``: left free on the spool's disk."""

    series_instances: int = _setting(COUNT, 2000)
    instance_mib: float = _setting(ABOVE_ZERO, 16.0)
    spool_gib: float = _setting(ABOVE_ZERO, 50.0)
    free_gib: float = _setting(NOT_NEGATIVE, 2.0)
    associations: int = _setting(COUNT, 20)
    idle_seconds: float = _setting(ABOVE_ZERO, 60.0)


@dataclass(frozen=True)
class Tls:
    """Certificate and key of this node (PEM), and the authorities whose certificates it accepts."""

    certificate: Path | None = _setting(PATH, None)
    key: Path | None = _setting(PATH, None)
    authorities: Path | None = _setting(PATH, None)


@dataclass(frozen=True)
class Contour:
    """``[segment]``: as of :func:`oarseg.segment`."""

    organs: tuple[str, ...] = _setting(each_once(text), ())
    formats: tuple[str, ...] = _setting(each_once(one_of(*FORMATS), 1), ("rtstruct",))
    device: str = _setting(text, "auto")
    engine: str = _setting(text, "auto")
    bundle: Path | None = _setting(PATH, None)


@dataclass(frozen=True)
class Destination:
    """``[[destination]]``: where results go. ``tls``: with the certificate of ``[tls]``."""

    name: str = _setting(NAME)
    ae_title: str = _setting(AE_TITLE)
    host: str = _setting(HOST)
    port: int = _setting(PORT, 104)
    tls: bool = _setting(flag, False)


@dataclass(frozen=True)
class Delivery:
    """``[delivery]``: each wait is twice the one before, up to the longest."""

    first_retry_seconds: float = _setting(ABOVE_ZERO, 10.0)
    longest_retry_seconds: float = _setting(ABOVE_ZERO, 600.0)
    give_up_hours: float = _setting(ABOVE_ZERO, 72.0)


@dataclass(frozen=True)
class Retention:
    """``[retention]``: how long the node keeps files of delivered series, dead letters, and records of a series."""

    delivered_hours: float = _setting(NOT_NEGATIVE, 0.0)
    dead_letter_days: float = _setting(NOT_NEGATIVE, 30.0)
    remember_days: float = _setting(NOT_NEGATIVE, 90.0)


@dataclass(frozen=True)
class Http:
    """``[http]``: health and metrics, on loopback only. ``port``: 0 for none."""

    address: str = _setting(LOOPBACK, "127.0.0.1")
    port: int = _setting(PORT_OR_NONE, 9108)


@dataclass(frozen=True)
class Config:
    """All settings. ``destinations``: one or more."""

    node: Listen
    allow: Allow
    destinations: tuple[Destination, ...]
    limits: Limits = Limits()
    segment: Contour = Contour()
    delivery: Delivery = Delivery()
    retention: Retention = Retention()
    http: Http = Http()
    tls: Tls = Tls()


_SECTIONS = {
    "node": Listen, "allow": Allow, "limits": Limits, "segment": Contour, "delivery": Delivery,
    "retention": Retention, "http": Http, "tls": Tls,
}  # fmt: skip


def read_config(path: str | Path) -> Config:
    """Return the settings of a TOML file; paths in it are relative to its folder.

    Raises ConfigError naming the section and key, what was found and what was expected.
    """
    path = Path(path)
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}); oarseg serve --example prints one") from error
    except (ValueError, RecursionError) as error:  # not UTF-8, or no TOML
        raise ConfigError(f"{path} is no TOML: {error}") from error
    try:
        return parse_config(content, path.absolute().parent)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def parse_config(content: dict[str, Any], base: Path) -> Config:
    """Return the settings of a parsed file. Raises ConfigError."""
    unknown = set(content) - set(_SECTIONS) - {"destination"}
    if unknown:
        raise ConfigError(f"unknown section [{min(unknown)}]; known: {', '.join([*_SECTIONS, 'destination'])}")
    sections = {key: _section(kind, content.get(key, {}), f"[{key}]", base) for key, kind in _SECTIONS.items()}
    rows = content.get("destination", [])
    if not isinstance(rows, list) or not rows:
        raise ConfigError("there is no [[destination]]; give one or more, each with name, ae_title, host, port")
    places = tuple(_section(Destination, row, f"[[destination]] {n}", base) for n, row in enumerate(rows, 1))
    config = Config(destinations=places, **sections)
    _check_together(config)
    return config


def _section(kind: type, values: object, where: str, base: Path) -> Any:
    """Return a ``kind`` of a TOML table. Raises ConfigError that begins with ``where``."""
    given = fields(kind)
    readers = {f.name: f.metadata["read"] for f in given}
    try:
        section = build(kind, values, readers, [f.name for f in given if f.default is not MISSING], where)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    return replace(section, **{key: base / value for key, value in vars(section).items() if isinstance(value, Path)})


def _check_together(config: Config) -> None:
    names = [place.name for place in config.destinations]
    if twice := next((n for n in names if names.count(n) > 1), None):
        raise ConfigError(f"two [[destination]] have the name {twice!r}; give each its own")
    if bool(config.tls.certificate) != bool(config.tls.key):
        raise ConfigError("[tls] needs both certificate and key, or neither")
    if any(place.tls for place in config.destinations) and not config.tls.authorities:
        raise ConfigError("[tls] authorities is missing; a destination with tls = true is known by them")
    for key in ("certificate", "key", "authorities"):
        path = getattr(config.tls, key)
        # ``Path.is_file`` raises where the name is too long.
        if path and not os.path.isfile(path):
            raise ConfigError(f"[tls] {key}: {str(path)[:200]} is no file")
    if "seg" in config.segment.formats:
        from oarseg.dicom.write.seg import check_available

        check_available()
    if config.delivery.longest_retry_seconds < config.delivery.first_retry_seconds:
        raise ConfigError("[delivery] longest_retry_seconds is below first_retry_seconds")
