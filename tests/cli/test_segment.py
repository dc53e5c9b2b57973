"""``oarseg segment``: what it writes, where the organs lie, and that nothing is left behind when it fails."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from importlib.util import find_spec
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest

import oarseg
from oarseg.cli import main
from oarseg.errors import ConfigError, InputError
from oarseg.images import results_folder as outputs

ALL = {"segmentation.nii.gz", "rtstruct.dcm", "report.json", "report.html", "preview.png"}
needs_highdicom = pytest.mark.skipif(find_spec("highdicom") is None, reason="highdicom is not installed")


def names(folder: Path) -> set[str]:
    return {p.name for p in folder.iterdir()}


def segment(*args: object) -> int:
    return main(["segment", *map(str, args)])


def test_dicom_in_four_files_out(ct_folder, tmp_path, fake, capsys):
    out = tmp_path / "a" / "out"
    assert segment(ct_folder, "-o", out) == 0
    assert names(out) == ALL and names(tmp_path) == {"ct", "a"}
    said = capsys.readouterr()
    assert "[1/5] reading the CT ... " in said.err and "warning: looks small" in said.err
    assert "Parotid_L" in said.out and "not found: stage 1 did not find it" in said.out and str(out) in said.out
    assert (out / "preview.png").stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def test_left_stays_left_in_every_file(ct_folder, tmp_path, fake):
    assert segment(ct_folder, "-o", tmp_path / "out", "-q") == 0
    # LPS mm: the box of voxel centres 20..30, -10..0, 130..150, at 2.5 x 2 x 5 mm.
    centre = np.array([25.0, -5.0, 140.0])
    row = json.loads((tmp_path / "out/report.json").read_text())["organs"]["parotid_left"]
    assert np.allclose(row["centroid_lps_mm"], centre)
    assert row["voxels"] == 5 * 6 * 5 and row["volume_cm3"] == pytest.approx(150 * 25 / 1000)
    assert row["box_lps_mm"] == {"min": [18.75, -11.0, 127.5], "max": [31.25, 1.0, 152.5]}

    image = nib.load(tmp_path / "out/segmentation.nii.gz")
    assert image.shape == (40, 48, 16) and image.get_data_dtype() == np.uint8
    assert nib.aff2axcodes(image.affine) == ("L", "P", "S")
    assert np.allclose(image.get_qform(), image.get_sform())
    index = np.argwhere(np.asarray(image.dataobj) == 7)
    ras = (index @ image.affine[:3, :3].T + image.affine[:3, 3]).mean(axis=0)
    assert np.allclose(ras * [-1, -1, 1], centre)

    plan = pydicom.dcmread(tmp_path / "out/rtstruct.dcm")
    assert [r.ROIName for r in plan.StructureSetROISequence] == ["Bone_Mandible", "Parotid_L"]
    contours = plan.ROIContourSequence[1].ContourSequence
    points = np.concatenate([np.reshape(c.ContourData, (-1, 3)).astype(float) for c in contours])
    assert np.allclose((points.min(axis=0) + points.max(axis=0)) / 2, centre) and len(contours) == 5


def test_nifti_in_gives_the_same_organs_on_its_own_grid(ct_folder, ct_nifti, tmp_path, fake):
    assert segment(ct_nifti, "-o", tmp_path / "n", "-q") == 0
    assert names(tmp_path / "n") == ALL - {"rtstruct.dcm"}
    assert segment(ct_folder, "-o", tmp_path / "d", "-q") == 0
    a, b = (nib.load(tmp_path / k / "segmentation.nii.gz") for k in "nd")
    assert np.array_equal(a.dataobj, b.dataobj) and np.allclose(a.affine, b.affine)
    assert np.allclose(a.affine, nib.load(ct_nifti).affine)


def test_no_file_and_no_message_names_the_patient(ct_folder, tmp_path, fake, capsys):
    (ct_folder / "Secret^Patient.txt").write_text("not DICOM")
    assert segment(ct_folder, "-o", tmp_path / "out", "-v") == 0
    uid = pydicom.dcmread(next(ct_folder.glob("*.dcm"))).SeriesInstanceUID
    said = capsys.readouterr()
    told = said.out + said.err + (tmp_path / "out/report.json").read_text()
    told += (tmp_path / "out/preview.png").read_bytes().decode("latin-1")
    for secret in ("Secret", "SECRET123", "19331224", "Dr^Hidden", str(uid)):
        assert secret not in told


@pytest.mark.parametrize(
    "wanted, files",
    [
        ("nifti", ALL - {"rtstruct.dcm"}),
        ("rtstruct", ALL - {"segmentation.nii.gz"}),
        ("nifti,rtstruct", ALL),
        pytest.param("nifti,seg", ALL - {"rtstruct.dcm"} | {"segmentation.dcm"}, marks=needs_highdicom),
        pytest.param("all", ALL | {"segmentation.dcm"}, marks=needs_highdicom),
    ],
)
def test_formats(wanted, files, ct_folder, tmp_path, fake):
    assert segment(ct_folder, "-o", tmp_path / "out", "-q", "--format", wanted) == 0
    assert names(tmp_path / "out") == files


def test_only_the_organs_asked_for(ct_folder, tmp_path, fake):
    assert segment(ct_folder, "-o", tmp_path / "out", "-q", "--organs", "mandible, brainstem") == 0
    organs = json.loads((tmp_path / "out/report.json").read_text())["organs"]
    assert {k: v["found"] for k, v in organs.items()} == {"brainstem": False, "mandible": True}


def test_nothing_found_is_a_result(ct_folder, tmp_path, fake):
    assert segment(ct_folder, "-o", tmp_path / "out", "-q", "--organs", "brainstem") == 3
    assert names(tmp_path / "out") == ALL - {"rtstruct.dcm"}
    assert "no organ was found" in " ".join(json.loads((tmp_path / "out/report.json").read_text())["warnings"])


def test_a_ct_without_frame_of_reference_gets_no_rtstruct(write_ct, tmp_path, fake, capsys):
    folder = write_ct(tmp_path / "ct", change=lambda item: delattr(item, "FrameOfReferenceUID"))
    assert segment(folder, "-o", tmp_path / "out", "-q") == 0
    assert names(tmp_path / "out") == ALL - {"rtstruct.dcm"} and "no RTSTRUCT written" in capsys.readouterr().err
    for wanted in ("rtstruct", "nifti,seg"):
        assert segment(folder, "-o", tmp_path / "out2", "-q", "--format", wanted) == 2
        assert "FrameOfReferenceUID" in capsys.readouterr().err


def test_one_series_of_two(write_ct, tmp_path, fake, capsys):
    write_ct(tmp_path / "ct", 4)
    write_ct(tmp_path / "ct", 9)
    assert segment(tmp_path / "ct", "-o", tmp_path / "out") == 2
    assert "choose one with --series" in capsys.readouterr().err and not (tmp_path / "out").exists()
    assert segment(tmp_path / "ct", "-o", tmp_path / "out", "--series", "9", "-q") == 0


REFUSED = {
    "no such input": (["none"], "does not exist"),
    "unknown organ": (["ct", "--organs", "liver"], "The site has: brainstem"),
    "unknown format": (["ct", "--format", "png"], "nifti, rtstruct, seg, all"),
    "rtstruct of NIfTI": (["ct.nii.gz", "--format", "rtstruct"], "give a DICOM folder"),
    "seg of NIfTI": (["ct.nii.gz", "--format", "seg"], "give a DICOM folder"),
    "series of NIfTI": (["ct.nii.gz", "--series", "2"], "leave out --series"),
    "no such series": (["ct", "--series", "77"], "--series 77"),
    "one DICOM file": (["ct/4_00.dcm"], "give the folder"),
    "damaged": (["bad.nii.gz"], "cannot be read as NIfTI"),
}


@pytest.mark.parametrize("args, told", REFUSED.values(), ids=REFUSED)
def test_bad_input_ends_with_one_line_and_nothing_written(
    args, told, ct_folder, ct_nifti, tmp_path, fake, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    Path("bad.nii.gz").write_bytes(b"no image")
    before = names(tmp_path)
    assert segment(*args, "-o", "deep/out", "-q") == 2
    said = capsys.readouterr()
    assert told in said.err and said.err.startswith("oarseg: error: ") and said.out == ""
    assert "Traceback" not in said.err and (said.err.count("\n") == 1 or "holds:" in said.err)
    assert names(tmp_path) == before


def test_a_folder_with_content_needs_overwrite(ct_folder, tmp_path, fake, capsys):
    out = tmp_path / "out"
    out.mkdir()
    assert segment(ct_folder, "-o", out, "-q") == 0, "an empty folder is no obstacle"
    (out / "mine.txt").write_text("keep")
    first = (out / "report.json").read_bytes()
    assert segment(ct_folder, "-o", out, "-q") == 2
    assert "--overwrite" in capsys.readouterr().err and (out / "report.json").read_bytes() == first
    assert segment(ct_folder, "-o", out, "-q", "--overwrite", "--organs", "mandible", "--format", "nifti") == 0
    # The earlier RTSTRUCT shows other organs than the new report, so it does not stay.
    assert names(out) == ALL - {"rtstruct.dcm"} | {"mine.txt"} and (out / "mine.txt").read_text() == "keep"
    assert list(json.loads((out / "report.json").read_text())["organs"]) == ["mandible"]


def _full(*args: object, **kwargs: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("place", ["nibabel.save", "oarseg.inference.job.write_preview", "pathlib.Path.write_text"])
def test_a_full_disk_leaves_what_was_there(place, ct_folder, tmp_path, fake, capsys, monkeypatch):
    assert segment(ct_folder, "-o", tmp_path / "old", "-q") == 0
    held = {p.name: p.read_bytes() for p in (tmp_path / "old").iterdir()}
    monkeypatch.setattr(place, _full)
    assert segment(ct_folder, "-o", tmp_path / "new", "-q") == 2
    assert segment(ct_folder, "-o", tmp_path / "old", "-q", "--overwrite") == 2
    said = capsys.readouterr().err
    assert f"{tmp_path / 'new'}: no space left" in said and f"{tmp_path / 'old'}: no space left" in said
    assert names(tmp_path) == {"ct", "old"}
    assert {p.name: p.read_bytes() for p in (tmp_path / "old").iterdir()} == held


def test_a_failed_move_puts_the_earlier_files_back(ct_folder, tmp_path, fake, monkeypatch):
    out = tmp_path / "out"
    assert segment(ct_folder, "-o", out, "-q") == 0
    held = {p.name: p.read_bytes() for p in out.iterdir()}
    real = os.replace

    def replace(source: Path, target: Path) -> None:
        if Path(target) == out / "report.json" and Path(source).parent.name != ".earlier":
            raise OSError(errno.EIO, "Input/output error")
        real(source, target)

    monkeypatch.setattr(outputs.os, "replace", replace)
    assert segment(ct_folder, "-o", out, "-q", "--overwrite") == 2
    assert {p.name: p.read_bytes() for p in out.iterdir()} == held


def test_no_room_is_told_before_anything_is_read(ct_folder, tmp_path, fake, capsys, monkeypatch):
    usage = outputs.shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(outputs.shutil, "disk_usage", lambda path: usage)
    monkeypatch.setattr("oarseg.inference.job.read_image", lambda *a: pytest.fail("read before the check"))
    assert segment(ct_folder, "-o", tmp_path / "a/out") == 2
    assert "no space left" in capsys.readouterr().err and names(tmp_path) == {"ct"}


def test_an_unwritable_place_is_told_before_anything_is_read(ct_folder, tmp_path, fake, capsys, monkeypatch):
    monkeypatch.setattr("oarseg.inference.job.read_image", lambda *a: pytest.fail("read before the check"))
    (tmp_path / "file").write_text("x")
    assert segment(ct_folder, "-o", tmp_path / "file") == 2
    assert "is not a folder" in capsys.readouterr().err
    assert segment(ct_folder, "-o", tmp_path / "file/out") == 2
    assert "cannot be written" in capsys.readouterr().err

    def denied(**kwargs: object) -> str:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(outputs.tempfile, "mkdtemp", denied)
    assert segment(ct_folder, "-o", tmp_path / "a/out") == 2
    assert "Permission denied" in capsys.readouterr().err and names(tmp_path) == {"ct", "file"}


def test_ctrl_c_and_a_crash_leave_nothing(ct_folder, tmp_path, fake, capsys, monkeypatch):
    for error, code in ((KeyboardInterrupt(), 130), (RuntimeError("boom"), 1)):

        def fail(*args: object, error: BaseException = error) -> None:
            raise error

        monkeypatch.setattr(fake, "segment", fail)
        assert segment(ct_folder, "-o", tmp_path / "out") == code
        assert names(tmp_path) == {"ct"} and "Traceback" not in capsys.readouterr().err


def test_a_seg_says_where_highdicom_is_missing(ct_folder, tmp_path, fake, capsys, monkeypatch):
    monkeypatch.setattr("oarseg.requires.installed", lambda package: package != "highdicom")
    assert segment(ct_folder, "-o", tmp_path / "out", "-q", "--format", "seg") == 2
    assert "pip install 'oarseg[seg]'" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_from_python_without_files(ct_folder, tmp_path, fake):
    before = names(tmp_path)
    result = oarseg.segment(ct_folder, pipeline=fake(None, "cpu", None))
    assert names(tmp_path) == before and result.folder is None and result.files == ()
    organ = result.site.organ("mandible")
    assert result.mask("mandible").shape == result.segmentation.label.shape
    assert np.array_equal(result.mask("mandible"), result.segmentation.label == organ.value)
    voxel_cm3 = abs(np.linalg.det(result.segmentation.affine[:3, :3])) / 1000
    assert result.volumes_cm3["mandible"] == pytest.approx(result.mask("mandible").sum() * voxel_cm3)
    assert "brainstem" not in result.volumes_cm3 and not result.mask("brainstem").any()
    assert "looks small" in result.warnings
    with pytest.raises(ConfigError, match="liver"):
        result.mask("liver")
    with pytest.raises(ConfigError, match="give a folder"):
        oarseg.segment(ct_folder, formats=["nifti"])
    for clash in ({"organs": ["mandible"]}, {"device": "cpu"}, {"engine": "torch"}, {"bundle": "x"}):
        with pytest.raises(ConfigError, match="are the pipeline's"):
            oarseg.segment(ct_folder, pipeline=fake(None, "cpu", None), **clash)
    with pytest.raises(ConfigError, match="give a list"):
        oarseg.segment(ct_folder, organs="mandible")
    with pytest.raises(InputError, match="path is empty"):
        oarseg.segment("")


def test_an_empty_path_is_not_the_current_folder(ct_folder, tmp_path, fake, capsys, monkeypatch):
    monkeypatch.chdir(ct_folder)
    assert segment("", "-o", tmp_path / "out", "-q") == 2 and segment(ct_folder, "-o", "", "-q") == 2
    assert capsys.readouterr().err.count("the path is empty") == 2


def test_all_that_can_be_written_without_highdicom(ct_folder, tmp_path, fake, monkeypatch):
    monkeypatch.setattr("oarseg.requires.installed", lambda package: package != "highdicom")
    result = oarseg.segment(ct_folder, tmp_path / "out", formats=(name for name in ["all"]))
    assert names(tmp_path / "out") == ALL and "no DICOM SEG written" in " ".join(result.warnings)


def test_the_report_tells_what_computed(ct_folder, tmp_path):
    for engine in ("torch:fp32", "auto"):
        result = oarseg.segment(ct_folder, tmp_path / engine[:4], engine=engine, device="cpu")
        told = result.report["engine"]
        assert told["name"] in ("torch", "openvino") and told["precision"] in ("fp32", "bf16", "int8")
        assert (told["networks"] == "models/compressed") == ("list_sha256" in told)
        assert engine == "auto" or told == {"name": "torch", "precision": "fp32", "networks": "models/model.pt"}


def test_the_report_names_the_files_by_checksum(ct_folder, tmp_path, fake):
    assert segment(ct_folder, "-o", tmp_path / "out", "-q") == 0
    files = json.loads((tmp_path / "out/report.json").read_text())["files"]
    assert set(files) == ALL - {"report.json", "report.html"}
    for name, told in files.items():
        assert hashlib.sha256((tmp_path / "out" / name).read_bytes()).hexdigest() == told


def test_from_python_with_one_pipeline_for_many(ct_folder, ct_nifti, tmp_path, fake):
    loaded, steps = fake(None, "cpu", None), []
    for source in (ct_folder, ct_nifti):
        done = oarseg.segment(source, tmp_path / f"out_{source.name[:4]}", pipeline=loaded, progress=steps.append)
        assert set(done.files) <= ALL and done.report["organs"]["mandible"]["found"]
    assert steps.count("reading the CT") == 2
    with pytest.raises(ConfigError, match="unknown format"):
        oarseg.segment(ct_folder, tmp_path / "x", formats=["png"])


def test_the_real_bundle_contours_the_demo(tmp_path, capsys):
    from oarseg.bundles import FOLDER

    out = tmp_path / "demo"
    assert main(["demo", "-o", str(out), "--device", "cpu"]) == 0
    assert names(out) == ALL and "preview.png" in capsys.readouterr().out
    report = json.loads((out / "report.json").read_text())
    expected = json.loads((Path(FOLDER).parent / "demo" / "expected.json").read_text())["organs"]
    assert set(report["organs"]) == set(expected)
    for key, row in report["organs"].items():
        assert row["found"], key
        distance = np.linalg.norm(np.subtract(row["centroid_lps_mm"], expected[key]["centroid_lps_mm"]))
        assert distance < 10, (key, distance)
        assert 0.4 < row["volume_cm3"] / expected[key]["volume_ml"] < 2.5, (key, row["volume_cm3"])
