"""Folders of DICOM CT and RTSTRUCT: contours on the right CT, names by the table, and no patient anywhere."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from ct_series import make_series

from oarseg.cli import main
from oarseg.datasets import load_datalist
from oarseg.datasets.convert import convert, plan
from oarseg.dicom import Roi, read_ct, write_rtstruct
from oarseg.sites import load_site

SITE = load_site()
SECRETS = ("Secret", "MRN4711", "Doe^Jane")
NAMES = {"parotid_left": "Lt Parotid", "mandible": "MANDIBLE", "brainstem": "BrainStem"}


@pytest.fixture(scope="module")
def export(phantom) -> Callable:
    """``export(folder, names, orientation, patient)``: one patient's CT and structure set, as a clinic would."""
    middle = phantom.centre * [-1, -1, 1]

    def hu(points: np.ndarray) -> np.ndarray:
        values = np.full(points.shape[:-1], -1000.0)
        values[(((points - middle) / (78, 92, 80)) ** 2).sum(-1) <= 1] = 0
        for value, (offset, axes) in phantom.organs.items():
            values[(((points - middle - offset) / np.array(axes)) ** 2).sum(-1) <= 1] = value * 75
        return values

    def write(
        folder: Path, names: dict[str, str] = NAMES, orientation: str = "HFS", patient: str = "MRN4711", size: int = 36
    ) -> Path:
        series = make_series(
            orientation, (size, size + 4, size + 2), (5.0, 4.6, 4.8), hu=hu, patient=patient, center=middle
        )
        series.write(folder / "CT Doe^Jane" / "MRN4711")
        grid = read_ct(folder)
        label = phantom.draw(grid.shape, grid.affine)[1]
        rois = [Roi(name, (255, 0, 0), label == SITE.values[key]) for key, name in names.items()]
        rois.append(Roi("PTV 70", (0, 255, 0), label == SITE.values["eye_left"]))
        write_rtstruct(folder / f"RS.{patient}.Doe^Jane.dcm", grid, rois)
        return folder

    return write


def structure_set(folder: Path) -> Path:
    return next(folder.glob("RS.*"))


def edit(folder: Path, change: Callable) -> None:
    dataset = pydicom.dcmread(structure_set(folder))
    change(dataset)
    dataset.save_as(structure_set(folder))


@pytest.mark.parametrize("orientation", ["HFS", "FFP", "oblique"])
def test_contours_come_out_as_the_masks_that_they_were(export, phantom, orientation, tmp_path):
    export(tmp_path / "in" / "Doe^Jane", orientation=orientation)
    outcome = convert(plan("dicom", tmp_path / "in", tmp_path / "out", SITE, validation=0))
    (row,) = outcome.rows["training"]
    assert outcome.failed == {} and set(row["labelled"]) == set(NAMES)
    label, image = (nib.load(tmp_path / "out" / row[part]) for part in ("label", "image"))
    # Columns, rows, slices.
    assert label.shape == (38, 40, 36) and np.allclose(label.affine, image.affine)
    hu, drawn = phantom.draw(label.shape, label.affine)
    # A planning CT is stored with six decimals of a direction; voxels on an organ's very edge may fall either way.
    wanted = drawn * np.isin(drawn, [SITE.values[key] for key in NAMES])
    assert (np.asarray(label.dataobj) != wanted).mean() < 1e-4
    assert (np.asarray(image.dataobj)[drawn > 0] == hu[drawn > 0]).mean() > 0.999


def test_no_patient_is_named_in_what_is_written_or_said(export, tmp_path, capfd):
    source, out = tmp_path / "in", tmp_path / "out"
    export(source / "Doe^Jane MRN4711")
    export(source / "Secret two")
    (source / "Secret broken").mkdir()
    (source / "Secret broken" / "RS.Secret.dcm").write_bytes(structure_set(source / "Secret two").read_bytes()[:2000])
    (source / "Secret no plan").mkdir()
    (source / "Secret no plan" / "Secret.txt").write_text("Secret")
    slices = (source / "Secret two" / "CT Doe^Jane").rglob("*.dcm")
    slices = sorted(slices, key=lambda path: pydicom.dcmread(path).InstanceNumber)
    slices[len(slices) // 2].unlink()
    assert main(["convert", "dicom", str(source), str(out), "--validation", "0"]) == 1
    said = "".join(capfd.readouterr())
    assert "left out:" in said and "PTV 70: 2" in said and "Lt Parotid -> Parotid_L (parotid_left): 2" in said
    assert len(re.findall(r"oarseg: p\d{4}_\d left out: ", said)) == 3 and str(tmp_path / "out.map.json") in said
    written = [p for p in out.rglob("*") if p.is_file()]
    assert {p.name for p in written} == {"dataset.json", "conversion.json", "p0001_1.nii.gz"}
    for secret in SECRETS:
        assert secret not in said
        for path in written:
            content = path.read_bytes()
            content = gzip.decompress(content) if path.suffix == ".gz" else content
            assert secret.encode() not in content and secret not in str(path.relative_to(out))
    key = json.loads((tmp_path / "out.map.json").read_text())
    assert "MRN4711" not in key["patients"] and key["folders"]["Doe^Jane MRN4711"] == "p0001_1"
    assert (tmp_path / "out.map.json").stat().st_mode & 0o077 == 0


def test_numbers_stay_when_folders_are_added_and_patients_stay_together(export, tmp_path):
    source, out = tmp_path / "in", tmp_path / "out"
    export(source / "b", patient="one")
    convert(plan("dicom", source, out, SITE))
    export(source / "a", patient="two")
    export(source / "c", patient="one")
    work = plan("dicom", source, out, SITE)
    assert [case.name for case, _ in work.todo] == ["p0002_1", "p0001_2"]
    rows = [row for part in convert(work).rows.values() for row in part]
    assert {Path(row["image"]).name[:7]: row["patient"] for row in rows} == {
        "p0001_1": "p0001", "p0001_2": "p0001", "p0002_1": "p0002"
    }  # fmt: skip
    (tmp_path / "out.map.json").unlink()
    with pytest.raises(Exception, match="no map of cases"):
        plan("dicom", source, out, SITE)


def other_frame(dataset: pydicom.Dataset) -> None:
    for roi in dataset.StructureSetROISequence:
        roi.ReferencedFrameOfReferenceUID = "1.2.3"


def frame_only(dataset: pydicom.Dataset) -> None:
    """As from programs that name the frame once, and no series."""
    for roi in dataset.StructureSetROISequence:
        del roi.ReferencedFrameOfReferenceUID
    dataset.ReferencedFrameOfReferenceSequence[0].FrameOfReferenceUID = "1.2.3"
    del dataset.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence


def other_series(dataset: pydicom.Dataset) -> None:
    study = dataset.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0]
    study.RTReferencedSeriesSequence[0].SeriesInstanceUID = "1.2.3"


def no_reference(dataset: pydicom.Dataset) -> None:
    other_frame(dataset)
    for roi in dataset.StructureSetROISequence:
        del roi.ReferencedFrameOfReferenceUID
    del dataset.ReferencedFrameOfReferenceSequence


def other_patient(dataset: pydicom.Dataset) -> None:
    dataset.PatientID = "another"


def two_names(dataset: pydicom.Dataset) -> None:
    dataset.StructureSetROISequence[1].ROIName = "Parotid_L"


def no_organ(dataset: pydicom.Dataset) -> None:
    for number, roi in enumerate(dataset.StructureSetROISequence):
        roi.ROIName = f"ROI {number}"


def shifted(dataset: pydicom.Dataset) -> None:
    for roi in dataset.ROIContourSequence:
        for contour in roi.ContourSequence:
            points = np.array(contour.ContourData, dtype=float).reshape(-1, 3) + [0, 0, 2.1]
            contour.ContourData = [f"{v:.3f}" for v in points.ravel()]


@pytest.mark.parametrize(
    "change, said",
    [
        (other_frame, "another frame of reference"),
        (frame_only, "another frame of reference"),
        (other_series, "holds 1 CT series and the structure set refers to 0"),
        (no_reference, "no frame of reference and no series in common"),
        (other_patient, "another patient's"),
        (two_names, "'Lt Parotid' and 'Parotid_L' are both parotid_left"),
        (no_organ, "names no organ of the table"),
        (shifted, "a contour lies on slice"),
    ],
)
def test_structure_sets_that_do_not_belong_are_refused_and_nothing_is_written(export, change, said, tmp_path):
    edit(export(tmp_path / "in" / "a"), change)
    outcome = convert(plan("dicom", tmp_path / "in", tmp_path / "out", SITE))
    assert said in outcome.failed["p0001_1"] and list(outcome.failed) == ["p0001_1"]
    assert not list((tmp_path / "out").rglob("*")) and outcome.rows == {"training": [], "validation": []}


def test_the_series_that_is_referred_to_is_taken_among_several(export, tmp_path):
    folder = export(tmp_path / "in" / "a")
    export(tmp_path / "other", size=28)
    (tmp_path / "other" / "CT Doe^Jane").rename(folder / "another CT")
    (row,) = convert(plan("dicom", tmp_path / "in", tmp_path / "out", SITE, validation=0)).rows["training"]
    assert row["shape"] == [38, 40, 36] and row["spacing_mm"] == [4.8, 4.6, 5.0]
    structure_set(tmp_path / "other").rename(folder / "RS.second.dcm")
    failed = convert(plan("dicom", tmp_path / "in", tmp_path / "two", SITE)).failed
    assert "holds 2 structure sets (RTSTRUCT), expected exactly one" in failed["p0001_1"]


def test_a_map_of_ones_own(export, tmp_path):
    export(tmp_path / "in" / "a", NAMES | {"optic_nerve_left": "ON links?", "parotid_right": "Parotid"})
    names = tmp_path / "names.json"
    names.write_text(json.dumps({"ON links?": "OpticNrv_L", "PTV 70": None, "MANDIBLE": None}))
    work = plan("dicom", tmp_path / "in", tmp_path / "out", SITE, validation=0, names=names)
    assert work.listing.unknown == {"Parotid": 1}
    convert(work)
    (case,) = load_datalist(tmp_path / "out", "training")
    assert set(case["labelled"]) == {"parotid_left", "brainstem", "optic_nerve_left"}
    # Another map makes the case again; the same one does not.
    assert plan("dicom", tmp_path / "in", tmp_path / "out", SITE, validation=0, names=names).todo == ()
    names.write_text(json.dumps({"ON links?": "OpticNrv_L"}))
    again = plan("dicom", tmp_path / "in", tmp_path / "out", SITE, validation=0, names=names)
    assert len(again.todo) == 1 and "mandible" in convert(again).rows["training"][0]["labelled"]


def test_a_dry_run_says_which_folder_is_which_case_and_its_names_can_be_edited_and_given_back(
    export, tmp_path, capsys
):
    source, out, names = tmp_path / "in", tmp_path / "out", tmp_path / "names.json"
    export(source / "Huber", NAMES | {"parotid_right": "Parotis re", "optic_nerve_left": "ON links?"})
    export(source / "Maier", patient="two")
    (source / "broken").mkdir()
    (source / "broken" / "RS.dcm").write_bytes(b"")
    args = ["convert", "dicom", str(source), str(out), "--validation", "0"]
    assert main([*args, "--dry-run", "--write-names", str(names)]) == 1
    printed = capsys.readouterr().out
    assert {"  p0001_1: Huber", "  p0002_1: Maier", "  p0003_1: broken"} <= set(printed.splitlines())
    assert "Parotis re -> Parotid_R (parotid_right): 1" in printed and not out.exists()
    assert json.loads(names.read_text()) == {
        "BrainStem": "brainstem", "Lt Parotid": "parotid_left", "MANDIBLE": "mandible", "ON links?": None,
        "PTV 70": None, "Parotis re": "parotid_right",
    }  # fmt: skip
    # A map that somebody may have edited is never replaced.
    assert main([*args, "--dry-run", "--write-names", str(names)]) == 2 and "names.json" in capsys.readouterr().err
    names.write_text(json.dumps(json.loads(names.read_text()) | {"ON links?": "OpticNrv_L", "MANDIBLE": None}))
    work = plan("dicom", source, out, SITE, validation=0, names=names)
    assert work.listing.unknown == {}
    assert set(convert(work).rows["training"][0]["labelled"]) == {
        "parotid_left", "parotid_right", "brainstem", "optic_nerve_left"
    }  # fmt: skip


def test_names_are_written_for_sets_that_have_none_of_their_own(tmp_path, capsys):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "img.nrrd").write_bytes(b"")
    args = ["convert", "pddca", str(tmp_path / "in"), str(tmp_path / "out"), "--dry-run"]
    assert main([*args, "--write-names", str(tmp_path / "names.json")]) == 2
    assert "--write-names" in capsys.readouterr().err and not (tmp_path / "names.json").exists()
