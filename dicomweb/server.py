"""The address of a DICOMweb server, and the certificates and credentials for it. Requests are in ``ask.py``.

No secret is part of a :class:`Server`: it may be printed, pickled and written down. Credentials are looked up for
each request (see ``session.py``).
"""

from __future__ import annotations

import ipaddress
import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from oarseg.errors import ConfigError, InputError
from oarseg.identity import short_hash

UID = re.compile(r"[0-9]+(\.[0-9]+)*")
LONGEST_UID = 64


class HttpError(InputError):
    """The server answered with an error. ``status``: of HTTP. ``content``: the body, as it came."""

    def __init__(self, message: str, status: int, content: bytes = b"") -> None:
        super().__init__(message)
        self.status, self.content = status, content


@dataclass(frozen=True)
class Server:
    """A DICOMweb server.

    ``url``: root of its service; ``/studies`` lies below. ``ca_bundle``: PEM file of the authorities that are trusted
    instead of the usual ones. ``token_file``: file that holds a bearer token.

    Raises ConfigError: the URL is none, or has a password in it; a file is missing.
    """

    url: str
    ca_bundle: str | None = None
    token_file: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "url", _checked(self.url))
        for field, what in (("ca_bundle", "CA bundle"), ("token_file", "token file")):
            path = getattr(self, field)
            if path is not None and not Path(path).is_file():
                raise ConfigError(f"{what} {path} does not exist or is no file")
            # A worker may be in another folder.
            object.__setattr__(self, field, path and os.path.abspath(path))

    @property
    def risk(self) -> str | None:
        """The risk of what is sent being read; None where it is encrypted or stays on this machine."""
        parts = urlsplit(self.url)
        if parts.scheme == "https" or is_loopback(parts.hostname or ""):
            return None
        return f"{self.url} is not encrypted: images and credentials can be read on the way; use https"


def origin(url: str) -> tuple[str, str, int | None]:
    """Return scheme, host and port of a URL: credentials are for these alone."""
    parts = urlsplit(url)
    return parts.scheme, (parts.hostname or ""), parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def check_uid(uid: str, what: str) -> str:
    """Return ``uid`` without white space around it. Raises ConfigError, with the name ``what``, where it is no UID."""
    uid = uid.strip()
    if not is_uid(uid):
        raise ConfigError(
            f"{what} {uid[:80]!r} is no UID; expected up to {LONGEST_UID} digits and dots, such as 1.2.840.113619.2.5"
        )
    return uid


def is_uid(uid: object) -> bool:
    """Return whether this is a UID that may be part of a URL."""
    return isinstance(uid, str) and len(uid) <= LONGEST_UID and UID.fullmatch(uid) is not None


def series_name(uid: str) -> str:
    """Return the first 16 hex digits of the SHA-256 of a series's UID, as in ``report.json``: it names no patient."""
    return short_hash(uid)


def _checked(url: str) -> str:
    if "@" in url:
        # The URL itself is not repeated.
        raise ConfigError(
            "the URL holds a user or a password, which everybody on this machine can see; set OARSEG_DICOMWEB_USER and "
            "OARSEG_DICOMWEB_PASSWORD, or write them to ~/.netrc"
        )
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        good = False
    if not good or not url.isprintable() or " " in url:
        raise ConfigError(f"{url!r} is no URL of a DICOMweb server; expected one such as https://pacs/dicom-web")
    if parts.query or parts.fragment:
        raise ConfigError(f"{url} is not the root of a DICOMweb service: leave out what follows ? or #")
    return url.rstrip("/")


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
