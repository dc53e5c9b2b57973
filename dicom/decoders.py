"""Which compressed images can be decoded here, and what to install where they cannot."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

import pydicom.config
from pydicom.uid import UID

# By what the transfer syntax is called, JPEG without a further word last.
PACKAGES = {"JPEG 2000": "pylibjpeg pylibjpeg-openjpeg", "JPEG-LS": "pyjpegls", "JPEG": "pylibjpeg pylibjpeg-libjpeg"}
ALL = "pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg"


def has_decoder(syntax: str) -> bool:
    """Whether images of a compressed transfer syntax (its UID) can be decoded."""
    try:
        from pydicom.pixels import get_decoder
    except ImportError:  # pydicom 2, whose handler by pylibjpeg is there without pylibjpeg's plugins, too
        found = [one for one in pydicom.config.pixel_data_handlers if one.supports_transfer_syntax(UID(syntax))]
        found = [one for one in found if "pylibjpeg" not in one.__name__ or _installed(packages(syntax).split()[-1])]
        return any(one.is_available() for one in found)
    try:
        return bool(get_decoder(UID(syntax)).is_available)
    except NotImplementedError:
        return False


def packages(syntax: str) -> str:
    """What to install (names for pip) to decode a transfer syntax."""
    name = str(UID(syntax).name)
    return next((found for kind, found in PACKAGES.items() if kind in name), ALL)


def _installed(package: str) -> bool:
    try:
        return bool(version(package))
    except PackageNotFoundError:
        return False
