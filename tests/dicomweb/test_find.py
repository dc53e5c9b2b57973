"""Queries: only CT, every series once, page by page."""

from __future__ import annotations

import re
from itertools import islice

import pytest

pytest.importorskip("dicomweb_client", reason="needs dicomweb-client: pip install 'oarseg[dicomweb]'")

from oarseg.cohort import find_remote_cases, source_of
from oarseg.dicomweb import Server, find_series, series_name
from oarseg.errors import ConfigError, InputError


@pytest.fixture
def archive(web, tools, monkeypatch) -> list[str]:
    """Seven CT series, one of two slices, and an MR; pages of three. The UIDs of the CT series."""
    monkeypatch.setattr("oarseg.dicomweb.find.PAGE", 3)
    uids = [web.hold(*tools.ct_slices(2 if n == 4 else 3)) for n in range(7)]
    mr = tools.ct_slices(3)
    for one in mr:
        one.Modality = "MR"
    web.hold(*mr)
    for one in web.of_series(uids[1]):
        one.StudyDate, one.PatientID = "20260301", "77"
    return uids


def test_all_pages_are_asked_for_as_they_are_wanted(web, archive):
    server = Server(web.root)
    assert [one.uid for one in find_series(server, {})] == archive and len(web.asked) == 4
    web.asked.clear()
    assert len(list(islice(find_series(server, {}), 4))) == 4 and len(web.asked) == 2
    web.asked.clear()
    assert [one.uid for one in find_series(server, {}, limit=2)] == archive[:2] and len(web.asked) == 1
    assert all(one.modality == "CT" and one.count in (2, 3) for one in find_series(server, {}))


def test_a_server_that_knows_no_pages_is_not_asked_for_ever(web, archive):
    web.knows_pages = False
    assert [one.uid for one in find_series(Server(web.root), {})] == archive and len(web.asked) == 2


def test_a_server_that_passes_over_where_to_begin_cuts_nothing_silently(web, archive, monkeypatch):
    found = web.found
    monkeypatch.setattr(web, "found", lambda study, query: found(study, re.sub("offset=[0-9]+", "offset=0", query)))
    told = find_series(Server(web.root), {})
    assert [next(told).uid for _ in range(3)] == archive[:3]
    with pytest.raises(InputError, match="does not give more than its first 3 series"):
        next(told)


def test_a_server_that_knows_no_filters_gives_no_mr(web, archive):
    rows = web.found(None, "")
    web.instead["find"] = [
        lambda h: h.reply_json(rows[int(h.path.split("offset=")[1]) :][:3]),
    ]
    assert [one.uid for one in find_series(Server(web.root), {})] == archive


def test_queries(web, archive):
    server = Server(web.root)
    assert [one.uid for one in find_series(server, {"StudyDate": "20260301"})] == [archive[1]]
    assert [one.uid for one in find_series(server, {"PatientID": "7*", "Modality": "CT"})] == [archive[1]]
    # As the standard's examples have it: Orthanc 1.10 takes no %2A for it.
    assert "PatientID=7*" in web.asked[-1][1]
    assert len(list(find_series(server, {"SeriesInstanceUID": archive[0]}))) == 1
    list(find_series(server, {"0010000d": "a b&c=d"}))
    assert "0010000D=a+b%26c%3Dd" in web.asked[-1][1]


@pytest.mark.parametrize(
    "query, told",
    [
        ({"Modality": "MR"}, "only CT"),
        ({"StudyDat": "2026"}, "no DICOM keyword"),
        ({"limit": "5"}, "--limit"),
        ({"x&y": "1"}, "no DICOM keyword"),
    ],
)
def test_bad_queries(web, query, told):
    with pytest.raises(ConfigError, match=told):
        find_series(Server(web.root), query)
    with pytest.raises(ConfigError, match="expected 1 or more"):
        find_series(Server(web.root), {}, limit=0)
    assert not web.asked


def test_cases_name_no_patient(web, archive, tools):
    server, notes = Server(web.root), []
    cases = list(find_remote_cases(server, {"PatientName": "Secret*"}, tell=notes.append))
    assert [case.name for case in cases] == [series_name(uid) for n, uid in enumerate(archive) if n != 4]
    assert notes == [f"{series_name(archive[4])}: 2 slice(s), passed over; at least 3 are needed"]
    told = source_of(server, {"PatientName": "Secret*"})
    assert told.startswith(f"{web.root}?") and "Secret" not in told
    assert told != source_of(server, {"PatientName": "Secret^*"})
    # More slices make another case of it.
    before = cases[0].fingerprint
    web.hold(*tools.ct_slices(1, series=archive[0], study=cases[0].remote.study))
    assert next(find_remote_cases(server, {})).fingerprint != before
