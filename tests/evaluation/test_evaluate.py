"""From folders to a folder of scores: organs by any of their names, and no library's warning on the way."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pydicom
import pytest
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from oarseg.errors import ConfigError
from oarseg.evaluation.evaluate import EvaluationJob, evaluate
from oarseg.sites import load_site

SITE = load_site()


def test_labelled_organs_by_tg_263_name_or_key(scan, save_map, tmp_path: Path) -> None:
    label, affine = scan
    parts = {"predicted": label, "true": label * (label == 1)}
    for side, part in parts.items():
        save_map(tmp_path / side / "pt_1.nii.gz", part, affine)
    job = EvaluationJob(
        tmp_path / "predicted", tmp_path / "true", tmp_path / "out", labelled=("Parotid_L", "EYE_RIGHT"), quiet=True
    )
    found = {row["organ"]: row["status"] for row in evaluate(job, SITE).rows}
    assert found == {"brainstem": "ok", "eye_right": "spurious", "parotid_left": "spurious"}
    bad = EvaluationJob(tmp_path / "predicted", tmp_path / "true", tmp_path / "b", labelled=("Parotid_M",), quiet=True)
    with pytest.raises(ConfigError, match="'Parotid_M'.*did you mean parotid_right or parotid_left"):
        evaluate(bad, SITE)


def test_a_plan_with_odd_numbers_is_scored_without_a_library_s_warning(scan, save_map, save_plan, tmp_path) -> None:
    label, affine = scan
    names = {"parotid_left": "Lt Parotid", "parotid_right": "P re", "mandible": "Jaw"}
    save_map(tmp_path / "predicted" / "pt_1.nii.gz", label, affine)
    plan = save_plan(tmp_path / "true" / "pt_1.dcm", label, affine, names)
    # "1.0" is a whole number, but not written as one: pydicom warns, with a line of its own source.
    dataset = pydicom.dcmread(plan)
    for roi in dataset.StructureSetROISequence:
        element = RawDataElement(Tag("ROINumber"), "IS", 6, f"{roi.ROINumber}.0".ljust(6).encode(), 0, False, True)
        roi[element.tag] = element
    dataset.save_as(plan)
    (tmp_path / "names.json").write_text(json.dumps({"Jaw": "Bone_Mandible", "P re": None}))
    job = EvaluationJob(
        tmp_path / "predicted", tmp_path / "true", tmp_path / "out", names=tmp_path / "names.json", quiet=True
    )
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        done = evaluate(job, SITE)
    assert [str(w.message) for w in seen] == []
    assert {row["organ"] for row in done.rows} == set(SITE.values) - {"parotid_right"}
    assert all(row["dice"] == 1 for row in done.rows)
