"""Find the CT series of a server (QIDO-RS).

>>> for series in find_series(Server("http://localhost:8042/dicom-web"), {"StudyDate": "20260101-"}):  # doctest: +SKIP
...     print(series.uid, series.count)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydicom.datadict import tag_for_keyword

from oarseg.dicomweb.ask import ask
from oarseg.dicomweb.server import HttpError, Server, check_uid, is_uid
from oarseg.errors import ConfigError, InputError

# Series in one answer.
PAGE = 100
STUDY, SERIES, MODALITY, COUNT = "0020000D", "0020000E", "00080060", "00201209"
FIELDS = ["NumberOfSeriesRelatedInstances"]
# Parameters of QIDO-RS that choose no series.
CONTROLS = ("limit", "offset", "includefield", "fuzzymatching")
TAG = re.compile(r"[0-9A-Fa-f]{8}")
Row = dict[str, Any]


@dataclass(frozen=True)
class RemoteSeries:
    """A series on a server. ``modality`` is "" and ``count`` (of instances) None where the server names none."""

    study: str
    uid: str
    modality: str = ""
    count: int | None = None


def find_series(
    server: Server,
    query: Mapping[str, str],
    limit: int | None = None,
    tell: Callable[[str], None] = lambda note: None,
) -> Iterator[RemoteSeries]:
    """Return an iterator of the CT series that fit, each once; a page is requested when it is needed.

    ``query``: DICOM keywords (or tags of eight hex digits) and values, as of QIDO-RS: ``*`` and ``?`` stand for
    characters, ``20260101-20260131`` for a range of dates. ``limit``: of series; None for all. ``tell``: called
    with a line before a request is repeated.

    Raises ConfigError for a bad query; while iterating HttpError (the server refuses) or InputError.
    """
    filters = {**check_query(query), "Modality": "CT"}
    if limit is not None and limit < 1:
        raise ConfigError(f"a limit of {limit} series; expected 1 or more")
    return _paged(server, filters, limit, tell)


def check_query(query: Mapping[str, str]) -> dict[str, str]:
    """Return ``query`` with tags in capitals. Raises ConfigError for an unknown keyword or a modality other than CT."""
    checked = {}
    for key, value in query.items():
        if key.lower() in CONTROLS:
            raise ConfigError(f"{key} is not part of a query; see --limit for the number of series")
        if not (TAG.fullmatch(key) or tag_for_keyword(key)):
            raise ConfigError(f"{key[:40]!r} is no DICOM keyword; expected one such as StudyDate or PatientID")
        if key in ("Modality", MODALITY):
            if value != "CT":
                raise ConfigError(f"Modality={value[:20]}: only CT can be contoured")
            continue
        checked[key.upper() if TAG.fullmatch(key) else key] = value
    return checked


def series_of(
    server: Server, series: str, study: str | None = None, tell: Callable[[str], None] = lambda note: None
) -> RemoteSeries:
    """Return the series with this UID. ``study``: the UID of its study, for servers that need it.

    ``tell``: called with a line before a request is repeated.
    Raises ConfigError (no UID, several studies, credentials), InputError (no such series, not a CT, no answer) or
    HttpError, which is one (the server refuses).
    """
    series, study = check_uid(series, "series"), check_uid(study, "study") if study else None
    try:
        rows = ask(server, lambda client: client.search_for_series(
            study, search_filters={"SeriesInstanceUID": series}, fields=FIELDS), tell)  # fmt: skip
    except HttpError as error:
        if error.status != 404:
            raise
        what = "study" if study else "address"
        raise InputError(f"{error}, and does it have this {what}?") from error
    found = {one.study: one for one in map(_parsed, _listed(server, rows)) if one and one.uid == series}
    found = {key: one for key, one in found.items() if study in (None, key)}
    if not found:
        where = "in this study " if study else ""
        raise InputError(f"{server.url} has no series {series} {where}that it shows; check the UID and your rights")
    if len(found) > 1:
        raise ConfigError(f"the series is in {len(found)} studies; name one: --study " + " or ".join(sorted(found)))
    one = next(iter(found.values()))
    if one.modality not in ("", "CT"):
        raise InputError(f"series {series} is of modality {one.modality}; only CT can be contoured")
    return one


def _paged(
    server: Server, filters: dict[str, str], limit: int | None, tell: Callable[[str], None]
) -> Iterator[RemoteSeries]:
    seen: set[str] = set()
    offset = given = 0
    while True:
        rows = _listed(server, ask(server, lambda client, offset=offset: client.search_for_series(  # type: ignore[misc]
            search_filters=filters, fields=FIELDS, limit=PAGE, offset=offset), tell))  # fmt: skip
        offset += len(rows)
        fresh = {one.uid: one for one in map(_parsed, rows) if one and one.uid not in seen}
        # The end; or a server that knows no pages sends the first one again.
        if not fresh:
            if len(rows) == PAGE:
                # It keeps to the limit, but passes over where to begin.
                raise InputError(f"{server.url} does not give more than its first {PAGE} series; narrow the query")
            return
        seen |= set(fresh)
        for one in fresh.values():
            # A server may pass over a filter that it does not know.
            if one.modality in ("", "CT"):
                yield one
                given += 1
                if given == limit:
                    return


def _listed(server: Server, rows: object) -> list[Row]:
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InputError(f"{server.url}: the answer is no list of series; is the URL the root of a DICOMweb service?")
    return rows


def _parsed(row: Row) -> RemoteSeries | None:
    """Return the series of a row; None where the row has no valid UIDs."""
    study, series = _value(row, STUDY), _value(row, SERIES)
    if not (is_uid(study) and is_uid(series)):
        return None
    modality, count = _value(row, MODALITY), _value(row, COUNT)
    known = count.isascii() and count.isdigit() and len(count) < 9
    return RemoteSeries(study, series, modality[:16] if modality.isalnum() else "", int(count) if known else None)


def _value(row: Row, tag: str) -> str:
    """Return the first value of an element of DICOM JSON as text; "" where there is none."""
    element = row.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    return str(values[0]).strip() if isinstance(values, list) and values and values[0] is not None else ""
