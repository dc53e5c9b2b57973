"""A series from a server: whole or not at all, in a private folder, whatever the server does."""

from __future__ import annotations

import hashlib
import stat
import sys
import tempfile
from pathlib import Path

import numpy as np
import pydicom
import pytest
from ports import free_port
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEGLosslessSV1, generate_uid

pytest.importorskip("dicomweb_client", reason="needs dicomweb-client: pip install 'oarseg[dicomweb]'")

from oarseg.dicom import read_ct
from oarseg.dicomweb import HttpError, Server, fetched, series_of
from oarseg.errors import ConfigError, InputError, OarsegError
from oarseg.images.read import read_image


@pytest.fixture(autouse=True)
def _own_tmp(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def refused(web, series: str, study: str | None = None) -> str:
    """What is said of a series that cannot be fetched; nothing of it may stay."""
    with pytest.raises(OarsegError) as error, fetched(Server(web.root), series, study):
        raise AssertionError("it was fetched")
    assert not list(Path(tempfile.gettempdir()).glob(".oarseg*"))
    said = str(error.value)
    assert "\n" not in said and "Secret" not in said and "12345" not in said
    return said


def test_a_series_comes_as_it_lies_there(web, tools):
    slices = tools.ct_slices(5)
    series, notes = web.hold(*slices), []
    web.hold(*tools.ct_slices(3, study=slices[0].StudyInstanceUID))
    with fetched(Server(web.root + "/"), series, tell=notes.append) as folder:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700 or sys.platform == "win32"
        names = {path.name for path in folder.iterdir()}
        assert names == {hashlib.sha256(str(one.SOPInstanceUID).encode()).hexdigest() + ".dcm" for one in slices}
        got = {pydicom.dcmread(path).SOPInstanceUID: path.read_bytes() for path in folder.iterdir()}
        assert got == {one.SOPInstanceUID: tools.encoded(one) for one in slices}
        np.testing.assert_array_equal(read_ct(folder).hu[:, 0, 0], range(5))
    assert not folder.exists() and notes == [f"{n} of 5 slices" for n in range(1, 6)]
    kinds = [(kind, path.split("?")[0]) for kind, path, _ in web.asked]
    study = slices[0].StudyInstanceUID
    assert kinds == [("find", "/dicom-web/series"), ("fetch", f"/dicom-web/studies/{study}/series/{series}")]
    assert web.asked[0][2]["Host"] == f"localhost:{web.server_port}"


def test_the_study_may_be_given(web, tools):
    slices = tools.ct_slices(3)
    series, study = web.hold(*slices), str(slices[0].StudyInstanceUID)
    with fetched(Server(web.root), series, study):
        pass
    assert web.asked[0][1].startswith(f"/dicom-web/studies/{study}/series?")
    assert "in this study" in refused(web, series, generate_uid())


def test_a_series_in_two_studies_is_not_guessed(web, tools):
    one = tools.ct_slices(3)
    two = tools.ct_slices(3, series=one[0].SeriesInstanceUID)
    series = web.hold(*one, *two)
    assert "in 2 studies; name one: --study" in refused(web, series)
    assert series_of(Server(web.root), series, str(two[0].StudyInstanceUID)).study == two[0].StudyInstanceUID


@pytest.mark.parametrize("uid", ["", "1.2.x", "../1.2", "1.2/../3", "1..2", "1.2" * 40, "1.2\n3", "Secret"])
def test_what_is_no_uid_is_never_sent(web, uid):
    with pytest.raises(ConfigError, match="is no UID"):
        series_of(Server(web.root), uid)
    with pytest.raises(ConfigError, match="study .* is no UID"):
        series_of(Server(web.root), "1.2", uid or "x")
    assert not web.asked


def test_unknown_and_other_series(web, tools):
    assert "has no series 1.2.3 that it shows" in refused(web, "1.2.3")
    mr = tools.ct_slices(3)
    for one in mr:
        one.Modality = "MR"
    assert "is of modality MR; only CT" in refused(web, web.hold(*mr))
    # The server forgets it between two questions.
    series = web.hold(*tools.ct_slices(3))
    web.instead["fetch"] = [lambda handler: handler.reply(404)]
    assert "has no such series (404)" in refused(web, series)


def test_what_is_no_ct_is_told_as_of_the_series(web, tools):
    slices = tools.ct_slices(3)
    for one in slices:
        one.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2.1"
    series = web.hold(*slices)
    with pytest.raises(InputError) as error, fetched(Server(web.root), series) as folder:
        read_image(folder)
    assert str(error.value).startswith("the series holds no CT slices") and str(folder) not in str(error.value)


@pytest.mark.parametrize(
    "status, told", [(401, "needs a login (401 Unauthorized); set OARSEG_DICOMWEB_TOKEN"),
                     (403, "does not allow this (403 Forbidden)"), (404, "is the URL the root"),
                     (500, "answered 500 Internal Server Error"), (799, "answered 799")],
)  # fmt: skip
def test_refusals(web, status, told):
    web.instead["find"] = [lambda handler: handler.reply(status)]
    assert told in refused(web, "1.2.3") and len(web.asked) == 1
    with pytest.raises(InputError) as error:
        series_of(Server(web.root), "1.2.3")
    if status in (401, 403, 500):
        assert isinstance(error.value, HttpError) and error.value.status == status


@pytest.mark.parametrize("status", [401, 403])
def test_refused_credentials_are_not_taken_for_missing_ones(web, tmp_path, monkeypatch, status):
    web.instead["find"] = [lambda handler: handler.reply(status)]
    monkeypatch.setenv("OARSEG_DICOMWEB_USER", "me")
    monkeypatch.setenv("OARSEG_DICOMWEB_PASSWORD", "wrong-4711")
    said = refused(web, "1.2.3")
    assert "OARSEG_DICOMWEB_USER and OARSEG_DICOMWEB_PASSWORD" in said and "check" in said
    assert "set " not in said and "wrong-4711" not in said
    (tmp_path / "token").write_text("secret-4711")
    with pytest.raises(HttpError, match=f"check.* token file {tmp_path / 'token'}") as error:
        series_of(Server(web.root, token_file=str(tmp_path / "token")), "1.2.3")
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("kind", ["find", "fetch"])
@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_what_passes_is_asked_again(web, tools, kind, status):
    series, notes = web.hold(*tools.ct_slices(4)), []
    web.for_ever = False
    web.instead[kind] = [lambda handler: handler.reply(status)] * 2
    with fetched(Server(web.root), series, tell=notes.append) as folder:
        assert len(list(folder.iterdir())) == 4
    assert [one[0] for one in web.asked].count(kind) == 3
    assert [note for note in notes if "trying again" in note] == ["no answer, trying again in 0 s"] * 2


def test_patience_ends(web):
    web.instead["find"] = [lambda handler: handler.reply(503)]
    assert "answered 503 Service Unavailable" in refused(web, "1.2.3") and len(web.asked) == 5


def test_nobody_there(web, monkeypatch):
    port = free_port()
    with pytest.raises(InputError, match=r"no connection.*Connection refused") as error:
        series_of(Server(f"http://127.0.0.1:{port}/dicom-web"), "1.2.3.4")
    assert "1.2.3.4" not in str(error.value)
    monkeypatch.setattr("oarseg.dicomweb.ask.TIMEOUT", (0.5, 0.2))
    web.instead["find"] = [lambda handler: __import__("time").sleep(0.5)]
    assert "does not answer in time" in refused(web, "1.2.3")


def torn_length(tools):
    return lambda handler: handler.reply(
        200, b"--x\r\n\r\nab", f"multipart/related; boundary={tools.boundary}", length=9000
    )


def test_an_answer_that_ends_early_is_asked_for_again(web, tools):
    slices = tools.ct_slices(4)
    series = web.hold(*slices)
    parts = [tools.encoded(one) for one in slices]
    web.for_ever = False
    web.instead["fetch"] = [
        torn_length(tools),
        lambda handler: handler.reply_parts([*parts[:2], parts[2][:900]], end=b"", length=False),
    ]
    with fetched(Server(web.root), series) as folder:
        assert {path.read_bytes() for path in folder.iterdir()} == set(parts)
    # For ever.
    web.for_ever = True
    web.instead["fetch"] = [lambda handler: handler.reply_parts([parts[0], parts[1][:900]], end=b"\r\nx", length=False)]
    assert "the answer ends early" in refused(web, series)
    web.instead["fetch"] = [torn_length(tools)]
    assert "it broke" in refused(web, series)


@pytest.mark.parametrize(
    "answer, told",
    [
        (lambda h: h.reply(200, b"<html>login</html>", "text/html; charset=utf-8"), "text/html instead of DICOM"),
        (lambda h: h.reply(204), "holds no instance"),
        (lambda h: h.reply(200), "cannot be read as DICOM (KeyError)"),
        (lambda h: h.reply(200, b"", "multipart/related; boundary=x"), "sent no instance"),
        (lambda h: h.reply(200, b"--x--\r\n", "multipart/related; boundary=x"), "cannot be read as DICOM"),
        (lambda h: h.reply(200, b"[]", "application/json"), "cannot be read as DICOM"),
        (lambda h: h.reply_parts([b"<html></html>"]), "cannot be read as DICOM (InvalidDicomError)"),
        (lambda h: h.reply_parts([bytes(128) + b"DICM" + b"\xff" * 60]), "an instance without SOPInstanceUID"),
        (lambda h: h.reply(206, b"--x--\r\n", "multipart/related; boundary=x"), "only a part of the answer (206)"),
        (lambda h: h.reply(200, b"DICM", "application/dicom"), "one instance instead of a series"),
        (lambda h: h.reply(200, b"<a/>", "application/dicom+xml; charset=utf-8"), "answered in XML"),
    ],
)
def test_answers_that_are_no_series(web, tools, answer, told):
    series = web.hold(*tools.ct_slices(3))
    web.instead["fetch"] = [answer]
    assert told in refused(web, series) and len(web.asked) == 2


@pytest.mark.parametrize(
    "answer, told",
    [
        (lambda h: h.reply(200, b"<html>", "text/html"), "text/html instead of DICOM"),
        (lambda h: h.reply(200, b"{torn", "application/dicom+json"), "cannot be read as DICOM"),
        (lambda h: h.reply_json("text"), "no list of series"),
        (lambda h: h.reply_json([1, 2]), "no list of series"),
        (lambda h: h.reply_json([{"0020000D": 3, "0020000E": {"Value": ["../../etc"]}}]), "has no series"),
        (lambda h: h.reply(204), "has no series"),
    ],
)
def test_answers_that_are_no_list(web, answer, told):
    web.instead["find"] = [answer]
    assert told in refused(web, "1.2.3")


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_of_another_series_nothing_is_used(web, tools):
    slices, other = tools.ct_slices(3), tools.ct_slices(1)
    series = web.hold(*slices)
    web.instead["fetch"] = [lambda handler: handler.reply_parts([tools.encoded(one) for one in [*slices, *other]])]
    assert "an instance of another series" in refused(web, series)
    slices[1].SOPInstanceUID = "../../../../tmp/evil"
    web.instead.clear()
    with fetched(Server(web.root), series) as folder:
        assert all(len(path.name) == 68 and path.parent == folder for path in folder.rglob("*"))


def test_of_another_study_nothing_is_used(web, tools):
    slices = tools.ct_slices(3)
    series, study = web.hold(*slices), str(slices[0].StudyInstanceUID)
    slices[1].StudyInstanceUID = generate_uid()
    assert "an instance of another study" in refused(web, series, study)


def test_a_small_deflated_instance_that_becomes_large_is_not_inflated(web, tools):
    slices = tools.ct_slices(3)
    series = web.hold(*slices)
    slices[0].file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    slices[0].PixelData = bytes(80 << 20)
    bomb = tools.encoded(slices[0])
    assert len(bomb) < 1 << 18
    web.instead["fetch"] = [lambda handler: handler.reply_parts([bomb])]
    assert "an instance of more than 64 MiB" in refused(web, series)


def test_too_few_and_twice(web, tools):
    slices = tools.ct_slices(5)
    series = web.hold(*slices)
    parts = [tools.encoded(one) for one in slices]
    web.instead["fetch"] = [lambda handler: handler.reply_parts(parts[:4] + parts[:1])]
    assert "sent 4 of the 5 instances" in refused(web, series)
    web.instead["fetch"] = [lambda handler: handler.reply_parts(parts + parts)]
    with fetched(Server(web.root), series) as folder:
        assert len(list(folder.iterdir())) == 5


def test_limits(web, tools, monkeypatch):
    series = web.hold(*tools.ct_slices(6))
    monkeypatch.setattr("oarseg.dicomweb.fetch.MAX_FILES", 5)
    assert "more than 5 instances" in refused(web, series)
    monkeypatch.setattr("oarseg.dicomweb.session.MAX_PART", 1 << 20)

    def endless(handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", f"multipart/related; boundary={tools.boundary}")
        handler.end_headers()
        handler.close_connection = True
        handler.wfile.write(f"--{tools.boundary}\r\n\r\n".encode())
        for _ in range(500):
            handler.wfile.write(bytes(1 << 20))

    web.instead["fetch"] = [endless]
    assert "sends more than 1 MiB; is this a CT?" in refused(web, series)


def test_no_room_is_told(web, tools, tmp_path, monkeypatch):
    series = web.hold(*tools.ct_slices(3))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    with pytest.raises(OarsegError, match="no temporary folder can be made"), fetched(Server(web.root), series):
        pass


def test_what_cannot_be_decoded_is_asked_for_uncompressed(web, tools):
    """JPEG Lossless has no decoder among our requirements."""
    pixels = pytest.importorskip("pydicom.pixels")
    if pixels.get_decoder(JPEGLosslessSV1).is_available:
        pytest.skip("a decoder for JPEG Lossless is installed here")
    slices = tools.ct_slices(3)
    series = web.hold(*slices)
    plain = [tools.encoded(one) for one in slices]
    for one in slices:
        one.file_meta.TransferSyntaxUID = JPEGLosslessSV1
        one.PixelData = pydicom.encaps.encapsulate([b"\xff\xd8\xff\xd9"])
        one["PixelData"].is_undefined_length = True
    stored = [tools.encoded(one) for one in slices]

    def as_accepted(handler) -> None:
        handler.reply_parts(stored if "transfer-syntax=*" in handler.headers["Accept"] else plain)

    web.instead["fetch"] = [as_accepted]
    with fetched(Server(web.root), series) as folder:
        assert {path.read_bytes() for path in folder.iterdir()} == set(plain)
    web.instead["fetch"] = [lambda handler: handler.reply_parts(stored)]
    assert "stored as JPEG Lossless" in refused(web, series)


def test_says_how_to_get_the_package(web, monkeypatch):
    monkeypatch.setitem(sys.modules, "dicomweb_client", None)
    with pytest.raises(ConfigError, match=r"pip install 'oarseg\[dicomweb\]'"):
        series_of(Server(web.root), "1.2.3")
