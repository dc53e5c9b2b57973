"""``oarseg segment --dicomweb`` and the same from Python: the real networks, one organ, the embedded CT."""

from __future__ import annotations

import shlex
import tempfile
from pathlib import Path

import pydicom
import pytest

pytest.importorskip("dicomweb_client", reason="needs dicomweb-client: pip install 'oarseg[dicomweb]'")

from oarseg import Pipeline, segment
from oarseg.cli import main
from oarseg.dicomweb import NotStored, Server, segment_series, series_name
from oarseg.errors import ConfigError, InputError, OutputError

pytestmark = pytest.mark.slow

USUAL = {"segmentation.nii.gz", "rtstruct.dcm", "report.json", "report.html", "preview.png"}


@pytest.fixture
def demo(web, demo_slices, tmp_path, monkeypatch) -> str:
    """UID of the series that the server has. The test works in an empty folder."""
    (tmp_path / "tmp").mkdir()
    (tmp_path / "work").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    monkeypatch.chdir(tmp_path / "work")
    return web.hold(*demo_slices)


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return Pipeline(device="cpu", organs=["mandible"])


def run(web, *options: str) -> int:
    return main(["segment", "--dicomweb", web.root, "--organs", "mandible", *options])


def refuses(handler) -> None:
    failed = [handler.reference(one, 0x0122) for one in handler.sent]
    handler.reply_json({"00081198": {"vr": "SQ", "Value": failed}}, 409)


@pytest.mark.slow
def test_contours_come_into_the_study(web, demo, demo_slices, tmp_path, capsys):
    assert run(web, "--series", demo, "-o", "out", "--store") == 0
    said = capsys.readouterr()
    assert "[1/7] fetching the CT ... " in said.err and "[7/7] storing ... " in said.err
    assert "not a medical device" in said.err and "Bone_Mandible" in said.out
    assert said.out.endswith(f"stored on {web.root}: rtstruct.dcm\n")
    assert {path.name for path in Path("out").iterdir()} == USUAL and not list((tmp_path / "tmp").iterdir())
    (stored,) = web.of_class("RTSTRUCT")
    assert stored == pydicom.dcmread("out/rtstruct.dcm") and stored.StudyInstanceUID == demo_slices[0].StudyInstanceUID
    # As from a folder.
    segment(Path(demo_slices[0].filename).parent, "folder", organs=["mandible"])
    other = pydicom.dcmread("folder/rtstruct.dcm")
    assert other.ROIContourSequence == stored.ROIContourSequence
    assert other.ReferencedFrameOfReferenceSequence == stored.ReferencedFrameOfReferenceSequence


def test_without_a_folder_the_results_lie_under_a_hash(web, demo):
    assert run(web, "--series", demo, "-q") == 0
    assert {path.name for path in Path(series_name(demo)).iterdir()} == USUAL
    assert not web.of_class("RTSTRUCT") and "store" not in [one[0] for one in web.asked]
    # Before anything is fetched.
    web.asked.clear()
    assert run(web, "--series", demo, "-q") == 2 and not web.asked


def test_what_was_not_stored_can_be_stored(web, demo, capsys):
    web.instead["store"] = [refuses]
    assert run(web, "--series", demo, "-o", "a folder", "--store") == 2
    said = capsys.readouterr()
    assert "Bone_Mandible" in said.out and "stored on" not in said.out
    assert {path.name for path in Path("a folder").iterdir()} == USUAL
    assert "contoured, but not stored: " in said.err and "(SOP class not supported, failure reason 0122)" in said.err
    # The command that it tells stores them.
    web.instead.clear()
    command = shlex.split(said.err.strip().splitlines()[-1].split("to store them: oarseg ")[1])
    assert main(command) == 0 and main(command) == 0
    assert web.of_class("RTSTRUCT") == [pydicom.dcmread("a folder/rtstruct.dcm")]


def test_stopped_while_it_stores_it_tells_where_the_results_are(web, demo, capsys, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("oarseg.dicomweb.job.store", stop)
    assert run(web, "--series", demo, "-o", "a folder", "--store") == 130
    said = capsys.readouterr().err
    assert "interrupted; contoured, but perhaps not stored" in said and "oarseg dicomweb store" in said
    assert "nothing was written" not in said and Path("a folder/rtstruct.dcm").is_file()


@pytest.mark.slow
def test_from_python(web, demo, pipeline):
    server = Server(web.root)
    with pytest.raises(ConfigError, match="give one, or do not store"):
        segment_series(server, demo, store_results=True)
    with pytest.raises(ConfigError, match="nothing that can be stored"):
        segment_series(server, demo, "out", formats=["nifti"], store_results=True)
    with pytest.raises(InputError, match="no series"):
        segment_series(server, "1.2.3", "out")
    Path("full").mkdir()
    Path("full/mine.txt").write_text("x")
    with pytest.raises(OutputError, match="not empty"):
        segment_series(server, demo, "full")
    web.instead["store"] = [refuses]
    steps: list[str] = []
    with pytest.raises(NotStored) as error:
        segment_series(web.root, demo, "out", pipeline=pipeline, progress=steps.append, store_results=True)
    result = error.value.result
    assert result and result.folder == Path("out") and set(result.files) == USUAL
    assert steps[:3] == ["fetching the CT", "fetching the CT: 1 of 85 slices", "fetching the CT: 2 of 85 slices"]
    assert steps[-1] == "storing"
    web.instead.clear()
    again = segment_series(server, demo, pipeline=pipeline)
    assert again.volumes_cm3 == result.volumes_cm3 and again.folder is None and not web.of_class("RTSTRUCT")


@pytest.mark.parametrize(
    "options, told",
    [
        ([], "no CT given"),
        (["ct"], "no folder for the results"),
        (["ct", "-o", "out", "--store"], "--store needs --dicomweb URL"),
        (["ct", "-o", "out", "--token-file", "x"], "--token-file needs --dicomweb URL"),
        (["ct", "--dicomweb", "URL", "--series", "1.2"], "both INPUT and --dicomweb"),
        (["--dicomweb", "URL"], "needs --series UID"),
        (["--dicomweb", "URL", "--series", "4"], "no series 4"),
        (["--dicomweb", "URL", "--series", "../4"], "is no UID"),
        (["--dicomweb", "URL", "--series", "1.2", "--study", "x"], "study 'x' is no UID"),
        (["--dicomweb", "URL", "--series", "1.2", "--store", "--format", "nifti"], "nothing that can be stored"),
        (["--dicomweb", "URL", "--series", "1.2", "--ca-bundle", "none.pem"], "does not exist"),
        (["--dicomweb", "me:hidden@pacs", "--series", "1.2"], "holds a user or a password"),
        (["--dicomweb", "", "--series", "1.2"], "'' is no URL"),
    ],
)
def test_bad_options(web, demo, options, told, capsys):
    assert main(["segment", *(web.root if part == "URL" else part for part in options)]) == 2
    assert told in capsys.readouterr().err and not list(Path().iterdir())


def test_what_is_not_encrypted_is_warned_about(capsys, monkeypatch):
    monkeypatch.setattr("oarseg.dicomweb.ask.PAUSES", ())
    monkeypatch.setattr("oarseg.dicomweb.ask.TIMEOUT", (0.2, 0.2))
    assert main(["segment", "--dicomweb", "http://pacs.invalid/dicom-web", "--series", "1.2", "-q"]) == 2
    assert "warning: http://pacs.invalid/dicom-web is not encrypted" in capsys.readouterr().err


def test_series_of_a_server_are_listed(web, demo, capsys):
    assert main(["series", "--dicomweb", web.root, "--query", "all"]) == 0
    study = next(iter(web.held.values())).StudyInstanceUID
    assert f"85 slices, study UID {study}, UID {demo}" in capsys.readouterr().out
    assert main(["series", "--dicomweb", web.root, "--query", "PatientID=nobody"]) == 2


@pytest.mark.parametrize("wrong", [{"engine": "abacus"}, {"device": "gpu"}, {"organs": "mandible"}])
def test_wrong_options_are_refused_before_the_server_is_queried(web, demo, wrong):
    with pytest.raises(ConfigError):
        segment_series(Server(web.root), demo, **wrong)
    assert not web.asked
