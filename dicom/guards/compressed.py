"""The one way to the compressed image of a slice: taken out of its wrapping and checked, before a decoder sees it."""

from __future__ import annotations

from pydicom.dataset import Dataset

from oarseg.dicom.guards import jpeg, jpeg2000
from oarseg.dicom.guards.frame import take_frame
from oarseg.dicom.read.header import Header

# By transfer syntax. Others, such as run-length encoding, cannot claim another size than their slice's.
CHECKS = dict.fromkeys(jpeg.SYNTAXES, jpeg.check_stream) | dict.fromkeys(jpeg2000.SYNTAXES, jpeg2000.check_stream)


def checked_frame(dataset: Dataset, header: Header) -> bytes:
    """Return the compressed image of a slice. ``dataset`` then holds nothing else. Raises InputError."""
    stream = take_frame(dataset, header)
    if check := CHECKS.get(header.transfer_syntax):
        check(stream, header)
    return stream
