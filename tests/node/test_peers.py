"""Peers that are not ours: DCMTK's tools, and Orthanc, which sends a study and gets its RTSTRUCT back."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import time
from pathlib import Path

import pydicom
import pytest

pytest.importorskip("pynetdicom", reason="needs pynetdicom: pip install 'oarseg[node]'")

from orthanc_process import PROGRAM, Orthanc

import oarseg.demo
from oarseg.node import config
from oarseg.node.worker import make_segmenter

# DICOM SEG too where it can be written.
SEG = ["seg"] if importlib.util.find_spec("highdicom") else []
CT = Path(oarseg.demo.__file__).parent / "ct"
SCRIPT = Path(config.__file__).parent / "deploy/orthanc_autorouting.lua"


def found(name: str) -> str | None:
    """DCMTK's own: pynetdicom brings commands of the same names."""
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        path = shutil.which(name, path=folder)
        if path and b"dcmtk" in subprocess.run([path, "--version"], capture_output=True, check=False).stdout.lower():
            return path
    return None


ECHOSCU, STORESCU, STORESCP = map(found, ("echoscu", "storescu", "storescp"))
dcmtk = pytest.mark.skipif(not (ECHOSCU and STORESCU and STORESCP), reason="needs DCMTK: apt install dcmtk")


def run(*command: object) -> subprocess.CompletedProcess:
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=60, check=False)


@dcmtk
@pytest.mark.peer
def test_dcmtk_echoes_sends_and_receives(site, tools, tmp_path):
    for n, one in enumerate(tools.ct_slices(5)):
        (tmp_path / "ct").mkdir(exist_ok=True)
        one.save_as(tmp_path / f"ct/{n}.dcm", enforce_file_format=True)
    (tmp_path / "got").mkdir()
    site.archive.stop()
    node = site.start()
    archive = subprocess.Popen([STORESCP, "-od", tmp_path / "got", "-aet", "PLANNING", str(site.archive.port)])
    try:
        assert run(ECHOSCU, "-aet", "SCANNER", "-aec", "OARSEG", "127.0.0.1", site.port).returncode == 0
        assert run(ECHOSCU, "-aet", "STRANGER", "-aec", "OARSEG", "127.0.0.1", site.port).returncode != 0
        sent = run(STORESCU, "-aet", "SCANNER", "-aec", "OARSEG", "+sd", "127.0.0.1", site.port, tmp_path / "ct")
        assert sent.returncode == 0, sent.stderr
        tools.wait_for(lambda: site.totals(node) == {"delivered": 1})
        results = list((tmp_path / "got").iterdir())
        assert len(results) == 1 and pydicom.dcmread(results[0], force=True).StructureSetLabel == "5"
        # An association that is aborted after its last slice.
        other = tools.ct_slices(4)
        other[0].save_as(tmp_path / "one.dcm", enforce_file_format=True)
        run(STORESCU, "--abort", "-aet", "SCANNER", "-aec", "OARSEG", "127.0.0.1", site.port, tmp_path / "one.dcm")
        tools.wait_for(lambda: site.totals(node) == {"delivered": 1, "failed": 1})
    finally:
        archive.terminate()
        archive.wait()


orthanc_is_here = pytest.mark.skipif(not PROGRAM, reason="needs Orthanc: apt install orthanc")


@pytest.mark.peer
@pytest.mark.slow
@orthanc_is_here
def test_orthanc_gets_the_rtstruct_into_the_study_it_sent(site, tools, tmp_path):
    dicom, http = tools.free_port(), tools.free_port()
    place = {"name": "orthanc", "ae_title": "ORTHANC", "host": "127.0.0.1", "port": dicom}
    site.over = {
        "destination": [place], "allow": {"ae_titles": ["ORTHANC"]}, "node": {"quiet_seconds": 1},
        "segment": {"organs": ["mandible", "brainstem"], "device": "cpu", "formats": ["rtstruct", *SEG]},
    }  # fmt: skip
    site.segmenter = make_segmenter(site.config())
    node = site.start()
    settings = {
        "DicomAet": "ORTHANC", "DicomPort": dicom, "DicomAlwaysAllowStore": True,
        "DicomModalities": {"oarseg": ["OARSEG", "127.0.0.1", site.port]},
    }  # fmt: skip
    orthanc = Orthanc(tmp_path / "orthanc", http, settings)
    try:
        tools.wait_for(orthanc.ready)
        for path in sorted(CT.glob("*.dcm")):
            study = orthanc.ask("/instances", path.read_bytes())["ParentStudy"]
        orthanc.ask("/modalities/oarseg/store", study.encode())
        # With the real networks: minutes on a machine that is busy otherwise.
        tools.wait_for(lambda: site.totals(node) == {"delivered": 1}, 300)
        assert orthanc.ask("/studies") == [study]
        series = {row["MainDicomTags"]["Modality"]: row for row in orthanc.ask(f"/studies/{study}/series")}
        assert set(series) == {"CT", "RTSTRUCT", *(name.upper() for name in SEG)}
        assert [len(series[kind]["Instances"]) for kind in sorted(series)] == [85] + [1] * (len(series) - 1)
        tags = orthanc.ask(f"/instances/{series['RTSTRUCT']['Instances'][0]}/simplified-tags")
        frame = tags["ReferencedFrameOfReferenceSequence"][0]
        of_study = frame["RTReferencedStudySequence"][0]
        of_series = of_study["RTReferencedSeriesSequence"][0]
        assert of_series["SeriesInstanceUID"] == series["CT"]["MainDicomTags"]["SeriesInstanceUID"]
        assert len(of_series["ContourImageSequence"]) == 85
        assert {row["ROIName"] for row in tags["StructureSetROISequence"]} == {"Bone_Mandible", "Brainstem"}
        # Nothing is left here of what was delivered.
        tools.wait_for(lambda: node.spool.bytes == 0)
        time.sleep(0.1)
        assert node.counters.values["objects_sent"] == 1 + len(SEG)
    finally:
        orthanc.close()


@pytest.mark.peer
@pytest.mark.slow
@orthanc_is_here
def test_orthanc_sends_stable_ct_series_by_itself_and_no_others(site, tools, tmp_path):
    """With the script of node/deploy; the other way is the REST call of the test above."""
    dicom, http = tools.free_port(), tools.free_port()
    site.over = {
        "destination": [{"name": "orthanc", "ae_title": "ORTHANC", "host": "127.0.0.1", "port": dicom}],
        "allow": {"ae_titles": ["ORTHANC"]},
    }  # fmt: skip
    node = site.start()
    settings = {
        "DicomAet": "ORTHANC", "DicomPort": dicom, "DicomAlwaysAllowStore": True, "StableAge": 1,
        "DicomModalities": {"oarseg": ["OARSEG", "127.0.0.1", site.port]}, "LuaScripts": [str(SCRIPT)],
    }  # fmt: skip
    orthanc = Orthanc(tmp_path / "orthanc", http, settings)
    try:
        tools.wait_for(orthanc.ready)
        for n, one in enumerate(tools.ct_slices(4)):
            one.save_as(tmp_path / f"{n}.dcm", enforce_file_format=True)
            orthanc.ask("/instances", (tmp_path / f"{n}.dcm").read_bytes())
        tools.wait_for(lambda: site.totals(node) == {"delivered": 1})
        kinds = [orthanc.ask(f"/series/{one}")["MainDicomTags"]["Modality"] for one in orthanc.ask("/series")]
        assert sorted(kinds) == ["CT", "RTSTRUCT"]
        # The RTSTRUCT is stable too after a while, and does not go round.
        tools.wait_for(lambda: all(orthanc.ask(f"/series/{one}")["IsStable"] for one in orthanc.ask("/series")))
        time.sleep(0.5)
        assert site.totals(node) == {"delivered": 1} and site.segmenter.calls == [4]
        assert node.counters.values["instances_refused"] == 0 and node.counters.values["associations_accepted"] == 1
    finally:
        orthanc.close()
