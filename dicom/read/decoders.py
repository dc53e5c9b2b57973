"""Compressed images: checked before a decoder sees them; which can be decoded here, and what to install for others."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

import pydicom.config
from pydicom.dataset import Dataset
from pydicom.uid import UID

from oarseg.dicom.guards import jpeg, jpeg2000
from oarseg.dicom.guards.frame import take_frame
from oarseg.dicom.read.header import Header

# What decodes a transfer syntax, for pip; the last one does the work.
PACKAGES = (
    dict.fromkeys(jpeg.SYNTAXES, ("pylibjpeg", "pylibjpeg-libjpeg"))
    | dict.fromkeys(jpeg.LS, ("pyjpegls",))
    | dict.fromkeys(jpeg2000.SYNTAXES, ("pylibjpeg", "pylibjpeg-openjpeg"))
)
# By transfer syntax. Others, such as run-length encoding, cannot claim another size than their slice's.
CHECKS = dict.fromkeys(jpeg.SYNTAXES, jpeg.check_stream) | dict.fromkeys(jpeg2000.SYNTAXES, jpeg2000.check_stream)


def checked_frame(dataset: Dataset, header: Header) -> bytes:
    """Return the compressed image of a slice. ``dataset`` then holds nothing else. Raises InputError."""
    stream = take_frame(dataset, header)
    if check := CHECKS.get(header.transfer_syntax):
        check(stream, header)
    return stream


def has_decoder(syntax: str) -> bool:
    """Return whether images of a compressed transfer syntax (its UID) can be decoded."""
    try:
        from pydicom.pixels import get_decoder
    except ImportError:  # pydicom 2, whose handler by pylibjpeg is there without pylibjpeg's plugins, too
        found = [one for one in pydicom.config.pixel_data_handlers if one.supports_transfer_syntax(UID(syntax))]
        return any(one.is_available() and ("pylibjpeg" not in one.__name__ or has_plugin(syntax)) for one in found)
    try:
        return bool(get_decoder(UID(syntax)).is_available)
    except NotImplementedError:
        return False


def has_plugin(syntax: str) -> bool:
    """Return whether the package that is named for a transfer syntax is installed."""
    try:
        return syntax in PACKAGES and bool(version(PACKAGES[syntax][-1]))
    except PackageNotFoundError:
        return False


def no_decoder(syntax: str) -> str:
    """Return a message for a user who has no decoder, with advice."""
    install = f"install one (pip install {' '.join(PACKAGES[syntax])}) or " if syntax in PACKAGES else ""
    return f"no decoder for transfer syntax {UID(syntax).name} ({syntax}); {install}export the CT uncompressed"
