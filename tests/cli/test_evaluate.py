"""``oarseg evaluate`` from folders to files, and every way to refuse."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest

from oarseg.cli import main
from oarseg.evaluation.evaluate import NAMES
from oarseg.evaluation.scores import read_scores
from oarseg.sites import load_site

SITE = load_site()


def evaluate(*args: object) -> int:
    return main(["evaluate", *map(str, args)])


def shifted(source: Path, target: Path, steps: int, drop: int = 0) -> None:
    """A copy of a label map moved along its first axis, without the organ ``drop``."""
    image = nib.load(source)
    label = np.roll(np.asarray(image.dataobj), steps, 0)
    target.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(label * (label != drop), image.affine), target)


@pytest.fixture
def contours(dataset_dir, tmp_path) -> Path:
    """Predictions for the data set's validation cases d and e, as ``oarseg segment`` and as the bundles write them."""
    shifted(dataset_dir / "labels/d.nii.gz", tmp_path / "contours/d/segmentation.nii.gz", 1, SITE.values["mandible"])
    shifted(dataset_dir / "labels/e.nii.gz", tmp_path / "contours/e_seg.nii.gz", 0)
    return tmp_path / "contours"


def by_organ(out: Path) -> dict[tuple[str, str], dict]:
    return {(row["case"], row["organ"]): row for row in read_scores(out / "scores.csv")}


def test_against_a_data_set(contours, dataset_dir, tmp_path, capsys):
    out = tmp_path / "scores"
    assert evaluate(contours, dataset_dir, "-o", out, "--worst", 3) == 0
    assert {p.name for p in out.iterdir()} == set(NAMES)
    rows = by_organ(out)
    assert len(rows) == 8 + 3 and rows["d", "mandible"]["status"] == "missed"
    assert rows["d", "eye_left"]["centroid_mm"] == pytest.approx(3, abs=1e-3) and rows["e", "brainstem"]["dice"] == 1
    said = capsys.readouterr().out
    assert "| Brainstem | 2 |" in said and "2 case(s)" in said and "failures.md" in said
    page = (out / "worst.html").read_text()
    assert page.count("<figure>") == 3 and "1. d, mandible" in page and str(tmp_path) not in page
    assert "Bone_Mandible: missed" in (out / "failures.md").read_text()
    assert "drawn without its CT" not in (out / "failures.md").read_text()


def test_earlier_results_are_replaced_on_request_only(contours, dataset_dir, tmp_path, capsys):
    out = tmp_path / "scores"
    assert evaluate(contours, dataset_dir, "-o", out, "-q") == 0
    assert evaluate(contours, dataset_dir, "-o", out, "-q") == 2
    assert "--overwrite" in capsys.readouterr().err
    (out / "mine.txt").write_text("kept")
    assert evaluate(contours, dataset_dir, "-o", out, "-q", "--overwrite", "--worst", 0) == 0
    # The page belonged to the earlier scores.
    assert {p.name for p in out.iterdir()} == set(NAMES) - {"worst.html"} | {"mine.txt"}


def test_missing_cases(contours, dataset_dir, tmp_path, capsys):
    (contours / "e_seg.nii.gz").rename(contours / "f_seg.nii.gz")
    out = tmp_path / "scores"
    assert evaluate(contours, dataset_dir, "-o", out, "-q") == 2 and not out.exists()
    said = capsys.readouterr().err
    assert "no prediction: e" in said and "no reference: f" in said
    assert evaluate(contours, dataset_dir, "-o", out, "-q", "--allow-missing", "--worst", 0) == 0
    assert {case for case, _ in by_organ(out)} == {"d"} and "no prediction: e" in capsys.readouterr().err
    assert "no prediction: e" in (out / "failures.md").read_text()


def test_folders_of_label_maps_and_the_organs_asked_for(contours, dataset_dir, tmp_path, capsys):
    references = tmp_path / "experts"
    for case in "de":
        shifted(dataset_dir / f"labels/{case}.nii.gz", references / f"{case}.nii.gz", 0, SITE.values["brainstem"])
    out = tmp_path / "scores"
    assert evaluate(contours, references, "-o", out, "-q", "--worst", 0) == 0
    assert ("d", "brainstem") not in by_organ(out)
    # Nobody said that brainstems were looked for: they are named, not scored.
    assert "not judged: brainstem in 2 case(s)" in capsys.readouterr().err
    assert evaluate(contours, references, "-o", out, "-q", "--overwrite", "--worst", 0, "--labelled", "brainstem") == 0
    assert by_organ(out)["d", "brainstem"]["status"] == "spurious"


def test_a_plan_against_its_own_segmentation(ct_folder, tmp_path, fake, capsys):
    assert main(["segment", str(ct_folder), "-o", str(tmp_path / "out"), "-q"]) == 0
    nifti, plan = tmp_path / "out/segmentation.nii.gz", tmp_path / "out/rtstruct.dcm"
    assert evaluate(nifti, plan, "-o", tmp_path / "scores", "-q", "--images", tmp_path) == 0
    rows = by_organ(tmp_path / "scores")
    assert {organ for _, organ in rows} == {"mandible", "parotid_left"}
    assert all(row["dice"] == row["surface_dice"] == 1 for row in rows.values())

    changed = pydicom.dcmread(plan)
    for roi in changed.StructureSetROISequence:
        roi.ROIName = f"clinic {roi.ROIName}"
    (tmp_path / "plans/case").mkdir(parents=True)
    (tmp_path / "maps/case").mkdir(parents=True)
    changed.save_as(tmp_path / "plans/case/rtstruct.dcm")
    nifti.rename(tmp_path / "maps/case/segmentation.nii.gz")
    folders = (tmp_path / "maps", tmp_path / "plans", "-o", tmp_path / "named", "-q")
    assert evaluate(*folders) == 2 and "no ROI is an organ: 'clinic Bone_Mandible'" in capsys.readouterr().err
    (tmp_path / "names.json").write_text(json.dumps({"clinic Parotid_L": "parotid_left"}))
    assert evaluate(*folders, "--names", tmp_path / "names.json") == 0
    assert set(by_organ(tmp_path / "named")) == {("case", "parotid_left")}
    assert "'clinic Bone_Mandible'" in capsys.readouterr().err


def test_compare(contours, dataset_dir, tmp_path, capsys):
    assert evaluate(contours, dataset_dir, "-o", tmp_path / "a", "-q", "--worst", 0) == 0
    shifted(dataset_dir / "labels/d.nii.gz", contours / "d/segmentation.nii.gz", 0)
    assert evaluate(contours, dataset_dir, "-o", tmp_path / "b", "-q", "--worst", 0) == 0
    assert evaluate("--compare", tmp_path / "a", tmp_path / "b/scores.csv", "-o", tmp_path / "c") == 0
    said = capsys.readouterr().out
    assert "| Bone_Mandible | 2 | 0.500 | 1.000 | +0.500 | - | - | - |" in said
    assert said == (tmp_path / "c/compare.md").read_text()
    assert (tmp_path / "c/compare.csv").read_text().startswith("measure,organ,pairs")
    assert evaluate("--compare", tmp_path / "a", tmp_path / "c") == 2
    assert evaluate("--compare", tmp_path / "a", tmp_path / "b", "-o", tmp_path / "c") == 2


@pytest.mark.parametrize(
    "options, said",
    [
        ([], "give PREDICTIONS"),
        (["p"], "give PREDICTIONS"),
        (["p", "r"], "give PREDICTIONS"),
        (["p", "--compare", "a", "b"], "no further folders"),
        (["p", "r", "-o", "o", "--tolerance-mm", "0"], "surface tolerance is 0.0"),
        (["p", "r", "-o", "o", "--tolerance-mm", "nan"], "surface tolerance is nan"),
        (["p", "r", "-o", "o", "--worst", "-1"], "--worst -1"),
        (["p", "r", "-o", "o", "--labelled", "heart"], "'heart'"),
        (["p", "r", "-o", "o"], "p does not exist"),
        (["p", "r", "-o", "o", "--site", "moon"], "moon"),
    ],
)
def test_wrong_options(options, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert evaluate(*options) == 2
    told = capsys.readouterr().err
    assert said in told and "Traceback" not in told and not list(tmp_path.iterdir())


def test_a_failure_leaves_nothing_behind(contours, dataset_dir, tmp_path, capsys):
    image = nib.load(contours / "e_seg.nii.gz")
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj) * 3, image.affine), contours / "e_seg.nii.gz")
    assert evaluate(contours, dataset_dir, "-o", tmp_path / "new/scores", "-q") == 2
    assert "e: label values from 0 to 21" in capsys.readouterr().err and not (tmp_path / "new").exists()


def test_help_says_how_organs_are_counted(capsys):
    assert evaluate("--help") == 0
    said = capsys.readouterr().out
    for word in ("missed", "spurious", "absent", "swapped", "--compare", "silver"):
        assert word in said


@pytest.mark.parametrize(
    "options, named",
    [
        (["--section", "validation"], "--section"),
        (["--tolerance-mm", "2"], "--tolerance-mm"),
        (["--worst", "0", "--allow-missing"], "--worst, --allow-missing"),
        (["--labelled", "mandible", "--names", "n.json", "--images", "d"], "--labelled, --names, --images"),
        (["--overwrite"], "--overwrite"),
    ],
)
def test_comparing_refuses_the_options_of_scoring(options, named, contours, dataset_dir, tmp_path, capsys):
    assert evaluate(contours, dataset_dir, "-o", tmp_path / "a", "-q", "--worst", 0) == 0
    capsys.readouterr()
    assert evaluate("--compare", tmp_path / "a", tmp_path / "a", *options) == 2
    said = capsys.readouterr()
    assert f"--compare does not use {named};" in said.err and not said.out


def test_a_tolerance_below_the_voxels_is_told_of(contours, dataset_dir, tmp_path, capsys):
    out = tmp_path / "scores"
    assert evaluate(contours, dataset_dir, "-o", out, "-q", "--worst", 0, "--tolerance-mm", 2.9) == 0
    note = "the tolerance of 2.9 mm is below the smallest voxel size of 2 of 2 case(s)"
    assert note in capsys.readouterr().err and note in (out / "failures.md").read_text()
    assert evaluate(contours, dataset_dir, "-o", out, "-q", "--worst", 0, "--tolerance-mm", 3, "--overwrite") == 0
    assert "voxel size" not in capsys.readouterr().err


def test_names_that_are_no_text(contours, dataset_dir, tmp_path, capsys):
    odd = os.fsdecode(b"case\n\xff|")
    for folder, source in (("p", contours / "d/segmentation.nii.gz"), ("r", dataset_dir / "labels/d.nii.gz")):
        (tmp_path / folder).mkdir()
        shutil.copy(source, tmp_path / folder / f"{odd}.nii.gz")
    out = tmp_path / os.fsdecode(b"sc\xdcores")
    assert evaluate(tmp_path / "p", tmp_path / "r", "-o", out) == 0
    assert {p.name for p in out.iterdir()} == set(NAMES)
    assert {case for case, _ in by_organ(out)} == {"case\\n\\udcff|"}
    assert "case\\n\\udcff|" in (out / "worst.html").read_text(encoding="utf-8")
    assert "sc\\udcdcores" in capsys.readouterr().out
    assert evaluate("--compare", out, out, "-o", tmp_path / "c") == 0
    assert "sc\\udcdcores" in (tmp_path / "c/compare.md").read_text(encoding="utf-8")


def test_a_plan_that_holds_no_organ_missed_them_all(ct_folder, tmp_path, fake, capsys):
    assert main(["segment", str(ct_folder), "-o", str(tmp_path / "out"), "-q"]) == 0
    plan = pydicom.dcmread(tmp_path / "out/rtstruct.dcm")
    for roi in plan.StructureSetROISequence:
        roi.ROIName = f"clinic {roi.ROIName}"
    plan.save_as(tmp_path / "other.dcm")
    out = tmp_path / "scores"
    assert evaluate(tmp_path / "other.dcm", tmp_path / "out/segmentation.nii.gz", "-o", out, "-q") == 0
    rows = by_organ(out)
    assert {row["status"] for row in rows.values()} == {"missed"} and len(rows) == 2
    assert "'clinic Bone_Mandible'" in capsys.readouterr().err
