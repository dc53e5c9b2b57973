"""A DICOMweb server that is not ours: Orthanc with its plugin."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest
from orthanc_process import PROGRAM, Orthanc
from ports import free_port

pytest.importorskip("dicomweb_client", reason="needs dicomweb-client: pip install 'oarseg[dicomweb]'")

from oarseg.cli import main
from oarseg.dicomweb import NotStored, Server, fetched, find_series, series_of, store
from oarseg.errors import InputError

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(
        not (PROGRAM and PLUGIN.is_file()),
        reason="needs Orthanc and its plugin: apt install orthanc orthanc-dicomweb",
    ),
]
USER, PASSWORD = "oarseg", "a password of the test"


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory, tools) -> Iterator[Orthanc]:
    settings = {"DicomServerEnabled": False, "Plugins": [str(PLUGIN)], "DicomWeb": {"Root": "/dicom-web/"}}
    server = Orthanc(tmp_path_factory.mktemp("orthanc"), free_port(), settings, USER, PASSWORD)
    try:
        until = time.monotonic() + 30
        while not server.ready():
            assert time.monotonic() < until, "Orthanc does not start"
            time.sleep(0.05)
        for path in sorted(tools.demo.glob("*.dcm")):
            server.ask("/instances", path.read_bytes())
        yield server
    finally:
        server.close()


@pytest.fixture
def root(orthanc: Orthanc) -> str:
    """The address of its DICOMweb."""
    return f"{orthanc.url}/dicom-web"


@pytest.fixture(autouse=True)
def _known(monkeypatch, _quick) -> None:
    monkeypatch.setenv("OARSEG_DICOMWEB_USER", USER)
    monkeypatch.setenv("OARSEG_DICOMWEB_PASSWORD", PASSWORD)


def test_the_rtstruct_is_in_the_study_and_its_references_resolve(orthanc, root, demo_slices, tmp_path, capsys):
    series, out = str(demo_slices[0].SeriesInstanceUID), tmp_path / "out"
    command = ["segment", "--dicomweb", root, "--series", series, "-o", str(out), "--organs", "mandible,brainstem",
               "--store"]  # fmt: skip
    assert main(command) == 0
    assert capsys.readouterr().out.endswith(f"stored on {root}: rtstruct.dcm\n")
    # Again, as after an answer that got lost.
    stored = store(Server(root), [out / "rtstruct.dcm"])
    (study,) = orthanc.ask("/studies")
    held = {row["MainDicomTags"]["Modality"]: row for row in orthanc.ask(f"/studies/{study}/series")}
    assert {kind: len(row["Instances"]) for kind, row in held.items()} == {"CT": 85, "RTSTRUCT": 1}
    instance = held["RTSTRUCT"]["Instances"][0]
    assert orthanc.ask(f"/instances/{instance}")["MainDicomTags"]["SOPInstanceUID"] == stored[0]
    tags = orthanc.ask(f"/instances/{instance}/simplified-tags")
    assert {row["ROIName"] for row in tags["StructureSetROISequence"]} == {"Bone_Mandible", "Brainstem"}
    frame = tags["ReferencedFrameOfReferenceSequence"][0]
    of_study = frame["RTReferencedStudySequence"][0]
    of_series = of_study["RTReferencedSeriesSequence"][0]
    first = orthanc.ask(f"/instances/{held['CT']['Instances'][0]}/simplified-tags")
    assert frame["FrameOfReferenceUID"] == first["FrameOfReferenceUID"]
    assert of_study["ReferencedSOPInstanceUID"] == tags["StudyInstanceUID"] == first["StudyInstanceUID"]
    assert of_series["SeriesInstanceUID"] == series
    uids = {orthanc.ask(f"/instances/{one}")["MainDicomTags"]["SOPInstanceUID"] for one in held["CT"]["Instances"]}
    assert {row["ReferencedSOPInstanceUID"] for row in of_series["ContourImageSequence"]} == uids
    drawn = {
        image["ReferencedSOPInstanceUID"]
        for roi in tags["ROIContourSequence"]
        for contour in roi["ContourSequence"]
        for image in contour["ContourImageSequence"]
    }
    assert drawn and drawn < uids


def test_queries_and_refusals(orthanc, root, demo_slices, tmp_path, monkeypatch):
    server, series = Server(root), str(demo_slices[0].SeriesInstanceUID)
    for query in ({}, {"PatientID": "OARSEG-DEMO"}, {"PatientID": "OARSEG*"}, {"SeriesDescription": "*average?of*"}):
        assert [(one.uid, one.count) for one in find_series(server, query)] == [(series, 85)]
    assert not list(find_series(server, {"PatientID": "NOBODY"}))
    study = str(demo_slices[0].StudyInstanceUID)
    assert series_of(server, series, study).study == study
    with pytest.raises(InputError, match="has no series"):
        series_of(server, "1.2.3")
    with pytest.raises(InputError, match="is the URL the root of a DICOMweb service"):
        series_of(Server(orthanc.url + "/other"), series)
    monkeypatch.setenv("OARSEG_DICOMWEB_PASSWORD", "another")
    with pytest.raises(InputError, match="401 Unauthorized"):
        series_of(server, series)
    with pytest.raises(NotStored, match="401 Unauthorized"):
        store(server, [_structures(tmp_path)])


def _structures(folder: Path) -> Path:
    dataset = pydicom.dcmread(pydicom.data.get_testdata_file("rtstruct.dcm"), force=True)
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.save_as(folder / "rtstruct.dcm", enforce_file_format=True)
    return folder / "rtstruct.dcm"


@pytest.mark.skipif(not shutil.which("dcmcjpeg"), reason="needs DCMTK: apt install dcmtk")
def test_orthanc_sends_uncompressed_what_cannot_be_decoded_here(root, tools, tmp_path):
    if pydicom.pixels.get_decoder(pydicom.uid.JPEGLosslessSV1).is_available:
        pytest.skip("a decoder for JPEG Lossless is installed here")
    slices, server = tools.ct_slices(4), Server(root)
    for n, one in enumerate(slices):
        one.save_as(tmp_path / f"{n}.dcm", enforce_file_format=True)
        subprocess.run(["dcmcjpeg", "+e1", tmp_path / f"{n}.dcm", tmp_path / f"{n}.jpeg"], check=True)
    store(server, sorted(tmp_path.glob("*.jpeg")))
    with fetched(server, str(slices[0].SeriesInstanceUID)) as folder:
        got = [pydicom.dcmread(path) for path in folder.iterdir()]
    assert {one.file_meta.TransferSyntaxUID for one in got} == {pydicom.uid.ExplicitVRLittleEndian}
    assert {one.SOPInstanceUID: one.PixelData for one in got} == {one.SOPInstanceUID: one.PixelData for one in slices}


@pytest.mark.slow
def test_a_batch(orthanc, root, tmp_path, capsys):
    pytest.importorskip("ray", reason="needs Ray: pip install 'oarseg[cluster]'")
    before = len(orthanc.ask("/instances"))
    command = ["batch", "--dicomweb", root, "--query", "PatientID=OARSEG*", "-o", str(tmp_path / "out"),
               "--organs", "mandible", "--workers", "1", "--store"]  # fmt: skip
    assert main(command) == 0
    assert "1 contoured" in capsys.readouterr().out and len(orthanc.ask("/instances")) == before + 1
