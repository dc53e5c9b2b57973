"""CTs from a DICOMweb server, contours back into it: QIDO-RS, WADO-RS and STOW-RS, through ``dicomweb-client``.

>>> from oarseg.dicomweb import Server, segment_series
>>> server = Server("https://pacs.example.org/dicom-web")
>>> result = segment_series(server, "1.2.3.4", "contours")         # doctest: +SKIP
"""

from oarseg.dicomweb.fetch import fetched
from oarseg.dicomweb.find import RemoteSeries, find_series, series_of
from oarseg.dicomweb.job import segment_series
from oarseg.dicomweb.server import HttpError, Server, series_name
from oarseg.dicomweb.storing import NotStored, store

__all__ = [
    "HttpError", "NotStored", "RemoteSeries", "Server", "fetched", "find_series", "segment_series", "series_name",
    "series_of", "store",
]  # fmt: skip
