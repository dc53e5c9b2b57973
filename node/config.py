"""The node's settings: one TOML file, checked field by field before anything starts.

>>> config = read_config("node.toml")                              # doctest: +SKIP
>>> config.node.ae_title, config.destinations[0].host              # doctest: +SKIP
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from oarseg.errors import ConfigError
from oarseg.node.fields import (
    above_zero,
    ae_title,
    allowed_title,
    at_least_zero,
    build,
    count,
    host,
    loopback,
    name,
    network,
    one_of,
    port,
)

EXAMPLE = Path(__file__).with_name("example.toml")
FORMATS = ("rtstruct", "seg")
MIB, GIB = 1 << 20, 1 << 30


@dataclass(frozen=True)
class Listen:
    """``[node]``: who it is, where it listens, where it keeps what it received."""

    ae_title: str = field(metadata={"check": ae_title})
    spool: Path
    address: str = "0.0.0.0"
    port: int = field(default=11112, metadata={"check": port})
    # From the end of the last association that brought slices of a series, to its being taken as whole.
    quiet_seconds: float = field(default=4.0, metadata={"check": at_least_zero})
    # Given to what is under way when the node is asked to end.
    stop_seconds: float = field(default=60.0, metadata={"check": at_least_zero})


@dataclass(frozen=True)
class Allow:
    """``[allow]``: who may send. ``ae_titles``: "*" for any. ``peers``: addresses or networks."""

    ae_titles: tuple[str, ...] = field(metadata={"check": allowed_title})
    peers: tuple[str, ...] = field(default=("127.0.0.0/8", "::1/128"), metadata={"check": network})


@dataclass(frozen=True)
class Limits:
    """``[limits]``: what is more is refused with a DICOM status. ``free_gib``: left free on the spool's disk."""

    series_instances: int = field(default=2000, metadata={"check": count})
    instance_mib: float = field(default=16.0, metadata={"check": above_zero})
    spool_gib: float = field(default=50.0, metadata={"check": above_zero})
    free_gib: float = field(default=2.0, metadata={"check": at_least_zero})
    associations: int = field(default=20, metadata={"check": count})
    idle_seconds: float = field(default=60.0, metadata={"check": above_zero})


@dataclass(frozen=True)
class Tls:
    """Certificate and key of this node (PEM), and the authorities whose certificates it takes."""

    certificate: Path | None = None
    key: Path | None = None
    authorities: Path | None = None


@dataclass(frozen=True)
class Contour:
    """``[segment]``: as of :func:`oarseg.segment`."""

    organs: tuple[str, ...] = ()
    formats: tuple[str, ...] = field(default=("rtstruct",), metadata={"check": one_of(*FORMATS)})
    device: str = "auto"
    engine: str = "auto"
    bundle: Path | None = None


@dataclass(frozen=True)
class Destination:
    """``[[destination]]``: where results go. ``tls``: with the certificate of ``[tls]``."""

    name: str = field(metadata={"check": name})
    ae_title: str = field(metadata={"check": ae_title})
    host: str = field(metadata={"check": host})
    port: int = field(default=104, metadata={"check": port})
    tls: bool = False


@dataclass(frozen=True)
class Delivery:
    """``[delivery]``: each wait is twice the one before, up to the longest."""

    first_retry_seconds: float = field(default=10.0, metadata={"check": above_zero})
    longest_retry_seconds: float = field(default=600.0, metadata={"check": above_zero})
    give_up_hours: float = field(default=72.0, metadata={"check": above_zero})


@dataclass(frozen=True)
class Retention:
    """``[retention]``: images and results of delivered series; of dead letters; what is known of a series at all."""

    delivered_hours: float = field(default=0.0, metadata={"check": at_least_zero})
    dead_letter_days: float = field(default=30.0, metadata={"check": at_least_zero})
    remember_days: float = field(default=90.0, metadata={"check": at_least_zero})


@dataclass(frozen=True)
class Http:
    """``[http]``: health and metrics, on loopback only. ``port``: 0 for none."""

    address: str = field(default="127.0.0.1", metadata={"check": loopback})
    port: int = field(default=9108, metadata={"check": lambda value: None if value == 0 else port(value)})


@dataclass(frozen=True)
class Config:
    """All of it. ``destinations``: one or more."""

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
    """The settings of a TOML file; paths in it are relative to its folder.

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
        config = parse_config(content, path.absolute().parent)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    return config


def parse_config(content: dict[str, Any], base: Path) -> Config:
    """The settings of a parsed file. Raises ConfigError."""
    unknown = set(content) - set(_SECTIONS) - {"destination"}
    if unknown:
        raise ConfigError(f"unknown section [{min(unknown)}]; known: {', '.join([*_SECTIONS, 'destination'])}")
    sections = {key: build(kind, content.get(key, {}), f"[{key}]", base) for key, kind in _SECTIONS.items()}
    rows = content.get("destination", [])
    if not isinstance(rows, list) or not rows:
        raise ConfigError("there is no [[destination]]; give one or more, each with name, ae_title, host, port")
    places = tuple(build(Destination, row, f"[[destination]] {n}", base) for n, row in enumerate(rows, 1))
    config = Config(destinations=places, **sections)
    _check_together(config)
    return config


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # its name is too long
        return False


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
        if path and not _is_file(path):
            raise ConfigError(f"[tls] {key}: {str(path)[:200]} is no file")
    if "seg" in config.segment.formats:
        from oarseg.dicom.write.seg import check_available

        check_available()
    if config.delivery.longest_retry_seconds < config.delivery.first_retry_seconds:
        raise ConfigError("[delivery] longest_retry_seconds is below first_retry_seconds")
