"""The series of a DICOMweb server as the cases of a cohort. Each is fetched by the worker that contours it.

>>> server = Server("https://pacs.example.org/dicom-web")          # doctest: +SKIP
>>> cases = find_remote_cases(server, {"StudyDate": "20260101-"})  # doctest: +SKIP
>>> run_cohort(cases, source_of(server, {"StudyDate": "20260101-"}), Path("contours"), Options())  # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from oarseg.cohort.cases import CohortCase
from oarseg.dicom.read.scan import MIN_SLICES
from oarseg.dicomweb import RemoteSeries, Server, fetched, find_series, series_name
from oarseg.identity import short_hash


@dataclass(frozen=True)
class RemoteCase(CohortCase):
    """A series of a server. ``name``: hash of its UID, so that it names no patient. ``source``: the server's URL."""

    server: Server | None = None
    remote: RemoteSeries | None = None

    @property
    def fingerprint(self) -> str:
        """Hash that differs once the server has more slices of the series."""
        return short_hash(self.source, self.series or "", str(self.remote and self.remote.count))

    @contextmanager
    def opened(self, near: Path) -> Iterator[tuple[str, str | None]]:
        """Fetch the series into a folder below ``near`` that is deleted at the end; yield the folder."""
        if self.server is None or self.remote is None:
            raise ValueError("a remote case needs a server and a series")
        with fetched(self.server, self.remote, near=near) as folder:
            yield str(folder), None


def find_remote_cases(
    server: Server,
    query: Mapping[str, str],
    limit: int | None = None,
    tell: Callable[[str], None] = lambda note: None,
) -> Iterator[RemoteCase]:
    """Yield the CT series of ``MIN_SLICES`` slices or more that fit a query (:func:`oarseg.dicomweb.find_series`).

    ``tell``: called with a line on each series that is passed over.
    """
    for one in find_series(server, query, limit, tell):
        name = series_name(one.uid)
        if one.count is not None and one.count < MIN_SLICES:
            tell(f"{name}: {one.count} slice(s), passed over; at least {MIN_SLICES} are needed")
            continue
        yield RemoteCase(name, server.url, one.uid, server, one)


def source_of(server: Server, query: Mapping[str, str]) -> str:
    """Return the name of a batch's source: the query, which may name a patient, stands in it as a hash."""
    return f"{server.url}?{short_hash(*(f'{key}={query[key]}' for key in sorted(query)))}"
