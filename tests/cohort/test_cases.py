"""Which CTs a folder tree or a datalist holds."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from oarseg.cohort import find_cases
from oarseg.errors import ConfigError, InputError
from oarseg.evaluation.references import find_references

CT = "1.2.840.10008.5.1.4.1.1.2"


def series(folder: Path, number: int = 1, slices: int = 4) -> str:
    """Headers of a CT series without pixels, which looking for cases does not read; returns its UID."""
    folder.mkdir(parents=True, exist_ok=True)
    uid = generate_uid()
    for k in range(slices):
        item = Dataset()
        item.SOPClassUID, item.SOPInstanceUID, item.Modality = CT, generate_uid(), "CT"
        item.SeriesInstanceUID, item.SeriesNumber, item.PatientID = uid, number, "MRN4711"
        item.ImageType, item.Rows, item.Columns = ["ORIGINAL", "PRIMARY", "AXIAL"], 8, 8
        item.ImagePositionPatient, item.ImageOrientationPatient = [0, 0, 3 * k], [1, 0, 0, 0, 1, 0]
        item.file_meta = FileMetaDataset()
        item.file_meta.MediaStorageSOPClassUID, item.file_meta.MediaStorageSOPInstanceUID = CT, item.SOPInstanceUID
        item.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        pydicom.dcmwrite(folder / f"{number}_{k}.dcm", item, enforce_file_format=True)
    return uid


def nifti(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(np.zeros((2, 2, 2), np.int16), np.eye(4)), path)
    return path


def test_a_tree_of_all_kinds(tmp_path):
    one = series(tmp_path / "p1" / "CT")
    two, three = (series(tmp_path / "p2", number) for number in (2, 7))
    nifti(tmp_path / "more" / "a.nii.gz")
    nifti(tmp_path / "b.nii")
    (tmp_path / "p1" / "report.pdf").write_text("x")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "IM1").write_bytes(b"no DICOM")
    series(tmp_path / ".hidden")
    os.symlink(tmp_path / "p1", tmp_path / "linked")
    notes: list[str] = []
    found = {case.name: (Path(case.source).relative_to(tmp_path).as_posix(), case.series)
             for case in find_cases(tmp_path, notes.append)}  # fmt: skip
    assert found == {
        "b": ("b.nii", None),
        "more_a": ("more/a.nii.gz", None),
        "p1_CT": ("p1/CT", one),
        "p2_series_2": ("p2", two),
        "p2_series_7": ("p2", three),
    }
    assert notes == []
    assert "MRN4711" not in str(found) + str(notes)


def test_stray_files_hide_no_case(tmp_path):
    for name in ("README", "participants.tsv", "Thumbs.db", "dataset.yaml"):
        (tmp_path / name).write_text("x")
    nifti(tmp_path / "sub1" / "ct.nii.gz")
    series(tmp_path / "patA")
    series(tmp_path / "patB", slices=2)
    nifti(tmp_path / "out" / "ct" / "segmentation.nii.gz")
    notes: list[str] = []
    found = [case.name for case in find_cases(tmp_path, notes.append, leave_out=tmp_path / "out")]
    assert found == ["patA", "sub1_ct"] and notes == ["patB: no CT series of 3 slices or more"]


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes on Linux alone")
def test_odd_names(tmp_path):
    nifti(tmp_path / "a.nii")
    os.rename(os.fsencode(tmp_path / "a.nii"), os.fsencode(tmp_path) + b"/m\xfcller.nii")
    for name in ("cases.jsonl", "index.html", "batch.json"):
        nifti(tmp_path / f"{name}.nii")
    names = [case.name for case in find_cases(tmp_path)]
    assert sorted(names) == ["batch.json_2", "cases.jsonl_2", "index.html_2", "m_ller"]
    assert all(case.fingerprint for case in find_cases(tmp_path))


def test_a_fingerprint_tells_a_changed_file(tmp_path):
    path = nifti(tmp_path / "a.nii")
    (before,) = find_cases(tmp_path)
    told = before.fingerprint
    os.utime(path, ns=(1, 1))
    (after,) = find_cases(tmp_path)
    assert after.fingerprint != told and after.fingerprint == after.fingerprint


def test_no_two_cases_share_a_folder(tmp_path):
    for name in ("x_y.nii", "x/y.nii", "X_Y.nii.gz"):
        nifti(tmp_path / name)
    names = [case.name for case in find_cases(tmp_path)]
    assert len({name.casefold() for name in names}) == 3
    long = nifti(tmp_path / ("d" * 150) / ("e" * 150 + ".nii"))
    (found,) = (case.name for case in find_cases(tmp_path / ("d" * 150)) if case.source == str(long))
    (longer,) = (case.name for case in find_cases(tmp_path) if case.source == str(long))
    assert found == "e" * 150 and len(longer) <= 200


def test_begins_before_the_whole_tree_was_read(tmp_path):
    series(tmp_path / "a")
    series(tmp_path / "b")
    cases = find_cases(tmp_path)
    first = next(cases)
    series(tmp_path / "b", 9)
    assert first.name == "a" and [case.name for case in cases] == ["b_series_1", "b_series_9"]


def test_a_datalist(tmp_path):
    path = tmp_path / "dataset.json"
    path.write_text(json.dumps({"training": [{"image": "images/a.nii.gz"}, {"image": "ct/b"}], "name": "x",
                                "validation": [{"image": "images/a.nii.gz"}]}))  # fmt: skip
    found = [(case.name, case.source) for case in find_cases(path)]
    assert found == [("a", str(tmp_path / "images/a.nii.gz")), ("b", str(tmp_path / "ct/b"))]


def test_cases_of_a_data_set_have_the_names_that_evaluate_looks_for(dataset_dir):
    names = [case.name for case in find_cases(dataset_dir / "dataset.json")]
    found = [name for part in ("training", "validation") for name in find_references(dataset_dir, part, None)]
    assert names == found == ["a", "b", "c", "d", "e"]


@pytest.mark.parametrize(
    "text, error, told",
    [("[1]", ConfigError, "no datalist"), ("{", ConfigError, "no datalist"),
     ('{"a": [{}]}', ConfigError, "names an 'image'"),
     ('{"a": [{"image": "x.nii"}, {"image": "../x.nii"}]}', InputError, "no path inside"),
     ('{"a": [{"image": "."}]}', InputError, "no path inside"),
     ('{"a": [{"image": "/etc/x.nii"}]}', InputError, "no path inside")],
)  # fmt: skip
def test_bad_datalists(tmp_path, text, error, told):
    (tmp_path / "list.json").write_text(text)
    with pytest.raises(error, match=told):
        list(find_cases(tmp_path / "list.json"))


def test_what_is_no_cohort(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        list(find_cases(tmp_path / "none"))
    with pytest.raises(InputError, match="use oarseg segment"):
        list(find_cases(nifti(tmp_path / "a.nii")))
