"""Contours into a server: what was refused is told with the reason, and nothing is there twice."""

from __future__ import annotations

import socket

import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, RTStructureSetStorage, generate_uid

pytest.importorskip("dicomweb_client", reason="needs dicomweb-client: pip install 'oarseg[dicomweb]'")

from oarseg.cli import main
from oarseg.dicomweb import NotStored, Server, store
from oarseg.errors import InputError

# What the server could not even name.
UNNAMED = {"00081197": {"vr": "US", "Value": [0xC000]}}


@pytest.fixture
def files(tmp_path):
    """Two small RTSTRUCTs, by name."""
    for name in ("rtstruct.dcm", "segmentation.dcm"):
        one = Dataset()
        one.file_meta = FileMetaDataset()
        one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        one.SOPClassUID, one.SOPInstanceUID = RTStructureSetStorage, generate_uid()
        one.Modality, one.SeriesInstanceUID, one.StudyInstanceUID = "RTSTRUCT", generate_uid(), generate_uid()
        one.StructureSetLabel, one.PatientName = name, "Secret^Name"
        # Larger than a piece of dicomweb-client's.
        one.add_new(0x30050010, "LO", "oarseg")
        one.add_new(0x30051010, "OB", bytes(2_000_000))
        one.save_as(tmp_path / name, enforce_file_format=True)
    return [tmp_path / "rtstruct.dcm", tmp_path / "segmentation.dcm"]


def test_files_are_there_once(web, tools, files):
    uids = [str(pydicom.dcmread(path).SOPInstanceUID) for path in files]
    for _ in range(2):
        assert store(Server(web.root), files) == tuple(uids)
    assert list(web.held) == uids
    assert [tools.encoded(one) for one in web.held.values()] == [path.read_bytes() for path in files]
    assert [(kind, path) for kind, path, _ in web.asked] == [("store", "/dicom-web/studies")] * 2


def test_an_answer_that_got_lost_makes_no_second_one(web, files):
    def gone(handler):
        web.held[str(handler.sent[0].SOPInstanceUID)] = handler.sent[0]
        handler.connection.shutdown(socket.SHUT_RDWR)
        handler.close_connection = True

    web.for_ever = False
    web.instead["store"] = [gone, lambda handler: handler.reply(503)]
    store(Server(web.root), files[:1])
    assert len(web.asked) == 3 and len(web.held) == 1


def refusal(status: int, *reasons: int | None, kind: str = "application/dicom+json"):
    """Takes all but the first files, of which it says why not."""

    def answer(handler) -> None:
        failed = [handler.reference(one, reason) for one, reason in zip(handler.sent, reasons, strict=False)]
        taken = [handler.reference(one) for one in handler.sent[len(reasons) :]]
        content = {"00081198": {"vr": "SQ", "Value": failed}}
        handler.reply_json(content | ({"00081199": {"vr": "SQ", "Value": taken}} if taken else {}), status, kind)

    return answer


@pytest.mark.parametrize(
    "answer, told",
    [
        (refusal(409, 0x0122, 0xA701), ["rtstruct.dcm (SOP class not supported, failure reason 0122)",
                                        "segmentation.dcm (out of resources, failure reason A701)"]),
        (refusal(202, 0x0110), ["rtstruct.dcm (processing failure, failure reason 0110)"]),
        (refusal(200, 0x0124, kind="application/json; charset=utf-8"), ["rtstruct.dcm (not authorized"]),
        (refusal(409, 0xA901), ["rtstruct.dcm (the data do not fit the SOP class, failure reason A901)"]),
        (refusal(409, 0x1234), ["rtstruct.dcm (see PS3.18 of the DICOM standard, failure reason 1234)"]),
        (refusal(409, None), ["rtstruct.dcm (no reason given)"]),
        (lambda h: h.reply(409, b"<html>", "text/html"), ["answered 409 Conflict"]),
        (lambda h: h.reply(413), ["answered 413"]),
        (lambda h: h.reply(401), ["401 Unauthorized"]),
        (lambda h: h.reply(200, b"<html>", "text/html"), ["text/html instead of DICOM"]),
        (lambda h: h.reply(200, b"{torn", "application/dicom+json"), ["cannot be read as DICOM"]),
        (lambda h: h.reply(302, Location="/dicom-web/x"), ["redirects what is to be stored"]),
        (lambda h: h.reply(307, Location="http://127.0.0.1:1/"), ["was not followed"]),
        (lambda h: h.reply_json({"00081199": {"vr": "SQ", "Value": [h.reference(h.sent[1])]}}),
         ["rtstruct.dcm (no reason given)"]),
        (lambda h: h.reply_json({"0008119A": {"vr": "SQ", "Value": [UNNAMED]}}, 409),
         ["an instance (cannot be understood, failure reason C000)", "segmentation.dcm (no reason given)"]),
        # Refused, with one named and the other not.
        (lambda h: h.reply_json({"00081198": {"vr": "SQ", "Value": [h.reference(h.sent[0], 0x0111)]}}, 202),
         ["segmentation.dcm (no reason given)"]),
        (refusal(202, 0xA700, kind="text/xml"), ["answered in XML"]),
        (refusal(202, 0xA700, kind="application/dicom+xml; charset=utf-8"), ["answered in XML"]),
        # Reasons of another kind than they should be.
        (lambda h: h.reply_json({"00081198": {"vr": "SQ", "Value": [
            h.reference(h.sent[0]) | {"00081197": {"vr": "US", "Value": [1, 2]}}]},
            "00081199": {"vr": "SQ", "Value": [h.reference(h.sent[1])]}}), ["rtstruct.dcm (no reason given)"]),
        (lambda h: h.reply_json({"00081198": {"vr": "LO", "Value": ["odd", "odder"]}}, 409), ["answered 409"]),
    ],
)  # fmt: skip
def test_refused(web, files, answer, told):
    web.instead["store"] = [answer]
    with pytest.raises(NotStored) as error:
        store(Server(web.root), files)
    said = str(error.value)
    assert all(part in said for part in told) and "\n" not in said and "Secret" not in said
    assert len(web.asked) == 1 and ("segmentation.dcm" in said) == any("segmentation.dcm" in part for part in told)


def test_what_is_there_already_is_stored(web, files):
    web.instead["store"] = [refusal(409, 0x0111, 0x0111)]
    assert len(store(Server(web.root), files)) == 2
    web.instead["store"] = [lambda handler: handler.reply(200)]
    assert len(store(Server(web.root), files)) == 2


def test_what_cannot_be_stored(web, files, tmp_path):
    (tmp_path / "x.dcm").write_bytes(b"no DICOM")
    (tmp_path / "torn.dcm").write_bytes(files[0].read_bytes()[:200])
    for name, told in (("x.dcm", "cannot be read as DICOM"), ("none", "none (does not exist|cannot be read)"),
                       ("torn.dcm", "has no SOPInstanceUID"), (".", "cannot be read as DICOM")):  # fmt: skip
        with pytest.raises(InputError, match=told):
            store(Server(web.root), [files[0], tmp_path / name])
    with pytest.raises(InputError, match="no file"):
        store(Server(web.root), [])
    assert not web.asked


def test_the_command(web, files, capsys):
    assert main(["dicomweb", "store", web.root, *map(str, files)]) == 0
    assert capsys.readouterr().out == f"stored on {web.root}: rtstruct.dcm, segmentation.dcm\n" and len(web.held) == 2
    web.instead["store"] = [refusal(409, 0x0122)]
    assert main(["dicomweb", "store", web.root, str(files[0])]) == 2
    assert "did not take rtstruct.dcm (SOP class not supported" in capsys.readouterr().err
    assert main(["dicomweb", "store", "pacs", str(files[0])]) == 2
    assert "is no URL" in capsys.readouterr().err
