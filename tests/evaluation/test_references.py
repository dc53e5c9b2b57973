"""Which files belong together, and what a reference labels."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from oarseg.cohort.cases import find_cases
from oarseg.errors import ConfigError, GeometryError, InputError
from oarseg.evaluation.references import (
    Pair,
    Reference,
    add_images,
    find_label_maps,
    find_references,
    load_pair,
    pair_cases,
)
from oarseg.sites import load_site
from oarseg.sites.roi_names import load_names

SITE = load_site()
NAMES = load_names(SITE)


def touched(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return folder


def test_every_layout_that_is_written_is_found(scan, save_plan, tmp_path):
    touched(tmp_path, "a.nii.gz", "b_seg.nii.gz", "c/segmentation.nii.gz", "c/rtstruct.dcm", "d/rtstruct.dcm", "e.nii")
    touched(tmp_path, "notes.txt", ".hidden.nii.gz", "empty/readme.md", "g/ct_1.dcm")
    save_plan(tmp_path / "f.dcm", *scan)
    save_plan(tmp_path / "g/RS.1.2.dcm", *scan)
    found = {case: path.relative_to(tmp_path).as_posix() for case, path in find_label_maps(tmp_path).items()}
    assert found == {
        "a": "a.nii.gz", "b": "b_seg.nii.gz", "c": "c/segmentation.nii.gz", "d": "d/rtstruct.dcm", "e": "e.nii",
        "f": "f.dcm", "g": "g/RS.1.2.dcm",
    }  # fmt: skip
    assert find_label_maps(tmp_path / "a.nii.gz") == {"a": tmp_path / "a.nii.gz"}
    save_plan(tmp_path / "g/RS.2.dcm", *scan)
    with pytest.raises(InputError, match="2 RTSTRUCTs"):
        find_label_maps(tmp_path)


def test_folders_without_or_with_ambiguous_maps_are_refused(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        find_label_maps(tmp_path / "none")
    with pytest.raises(InputError, match="holds no label map"):
        find_label_maps(tmp_path)
    with pytest.raises(InputError, match="both case 'a'"):
        find_label_maps(touched(tmp_path, "a.nii.gz", "a_seg.nii.gz"))


def test_a_data_set_scores_its_own_labels_only(dataset_dir):
    found = find_references(dataset_dir, "training", None)
    assert set(found) == {"a", "b", "c"}
    # Case c has silver eyes as well.
    assert found["c"].labelled == ("brainstem", "mandible", "parotid_left", "parotid_right")
    assert found["c"].path == (dataset_dir / "labels/c.nii.gz").resolve()
    assert found["c"].image == (dataset_dir / "images/c.nii.gz").resolve()
    assert set(find_references(dataset_dir, "validation", None)) == {"d", "e"}
    with pytest.raises(ConfigError, match="--labelled"):
        find_references(dataset_dir, "validation", ["brainstem"])
    with pytest.raises(ConfigError, match="no section 'test'"):
        find_references(dataset_dir, "test", None)


def test_cases_are_paired_by_name_and_missing_ones_are_named():
    predictions = {name: Path(name) for name in "abc"}
    references = {name: Reference(Path(name)) for name in "bcd"}
    with pytest.raises(InputError, match=r"no prediction: d; 1 case\(s\) have no reference: a; .*--allow-missing"):
        pair_cases(predictions, references, False)
    pairs, told = pair_cases(predictions, references, True)
    assert [pair.case for pair in pairs] == ["b", "c"] and len(told) == 2
    assert pair_cases(predictions, {n: Reference(Path(n)) for n in "abc"}, False)[1] == []
    with pytest.raises(InputError, match="no case is on both sides"):
        pair_cases({"x": Path("x")}, references, True)


def test_names_with_dots_stay_apart():
    references = {name: Reference(Path(name)) for name in ("pt.1", "pt_1.2", "pt.2")}
    exact, _ = pair_cases({name: Path(name) for name in references}, references, False)
    assert [(pair.case, pair.prediction.name) for pair in exact] == [(n, n) for n in sorted(references)]
    # As the bundles write them.
    written = {name: Path(name) for name in ("pt_1", "pt_1_2", "pt_2")}
    pairs, _ = pair_cases(written, references, False)
    assert {pair.case: pair.prediction.name for pair in pairs} == {"pt.1": "pt_1", "pt_1.2": "pt_1_2", "pt.2": "pt_2"}


def test_a_name_that_stands_for_two_cases_is_nobodys():
    references = {name: Reference(Path(name)) for name in ("pt.1", "pt_1")}
    pairs, _ = pair_cases({"pt.1": Path("a"), "pt_1": Path("b")}, references, False)
    assert [(pair.case, pair.prediction.name) for pair in pairs] == [("pt.1", "a"), ("pt_1", "b")]
    with pytest.raises(InputError, match="no prediction: pt.1"):
        pair_cases({"pt_1": Path("b")}, references, False)
    with pytest.raises(InputError, match="no case is on both sides"):
        pair_cases({"a.b_c": Path("a"), "a_b.c": Path("b")}, {"a.b.c": Reference(Path("r"))}, True)


def test_only_known_endings_are_no_part_of_a_name(scan, save_plan, tmp_path):
    touched(tmp_path, "pt_1.2.nii.gz", "pt.1_seg.nii.gz", "1.2.840.1/segmentation.nii.gz")
    save_plan(tmp_path / "plan.3", *scan)
    save_plan(tmp_path / "PLAN.4.DCM", *scan)
    assert set(find_label_maps(tmp_path)) == {"pt_1.2", "pt.1", "1.2.840.1", "plan.3", "PLAN.4"}


def test_plans_are_told_by_what_they_hold(scan, save_plan, tmp_path):
    save_plan(tmp_path / "RS_without_ending", *scan)
    save_plan(tmp_path / "patient/RS", *scan)
    touched(tmp_path, "IM0001", "patient/IM0001", "notes.md")
    found = {case: path.relative_to(tmp_path).as_posix() for case, path in find_label_maps(tmp_path).items()}
    assert found == {"RS_without_ending": "RS_without_ending", "patient": "patient/RS"}


def test_names_that_no_terminal_takes(scan, save_map, tmp_path):
    odd = os.fsdecode(b"a\nb\xff\x1b[2J")
    save_map(tmp_path / f"{odd}.nii", *scan)
    assert list(find_label_maps(tmp_path)) == ["a\\nb\\udcff\\x1b[2J"]


def test_images_are_added_by_name(tmp_path):
    references = {name: Reference(Path(name)) for name in ("a", "b", "c.1")}
    found = add_images(references, touched(tmp_path, "a.nii.gz", "z.nii.gz", "c_1.nii.gz"))
    assert found["c.1"].image == tmp_path / "c_1.nii.gz"
    assert found["a"].image == tmp_path / "a.nii.gz" and found["b"].image is None


def test_what_a_plain_reference_labels(scan, save_map, tmp_path):
    label, affine = scan
    some = label * np.isin(label, [1, 4])
    pair = Pair(
        "x", save_map(tmp_path / "p.nii.gz", label, affine), Reference(save_map(tmp_path / "r.nii", some, affine))
    )
    assert load_pair(pair, SITE, NAMES).labelled == ("brainstem", "mandible")
    assert load_pair(pair, SITE, NAMES, ["eye_left"]).labelled == ("brainstem", "eye_left", "mandible")
    told = Pair("x", pair.prediction, Reference(pair.reference.path, ("parotid_left",)))
    assert load_pair(told, SITE, NAMES).labelled == ("parotid_left",)


@pytest.mark.parametrize("plan_is", ["prediction", "reference"])
def test_a_plan_is_drawn_on_the_other_sides_voxels(plan_is, scan, save_map, save_plan, tmp_path):
    label, affine = scan
    some = label * np.isin(label, [1, 7])
    # As oarseg segment writes NIfTI: columns, rows, slices.
    stored = save_map(tmp_path / "map.nii.gz", label.transpose(2, 1, 0), affine[:, [2, 1, 0, 3]])
    plan = save_plan(tmp_path / "plan.dcm", some, affine)
    pair = Pair("x", plan, Reference(stored)) if plan_is == "prediction" else Pair("x", stored, Reference(plan))
    loaded = load_pair(pair, SITE, NAMES)
    drawn, other = (loaded.prediction, loaded.reference)[:: 1 if plan_is == "prediction" else -1]
    assert np.array_equal(drawn.label, other.label * np.isin(other.label, [1, 7]))
    assert loaded.labelled == (tuple(SITE.values) if plan_is == "prediction" else ("brainstem", "parotid_left"))


def test_pairs_that_cannot_be_compared(scan, save_map, save_plan, tmp_path):
    label, affine = scan
    moved = affine.copy()
    moved[2, 3] += 1.5
    a, b = save_map(tmp_path / "a.nii", label, affine), save_map(tmp_path / "b.nii", label, moved)
    with pytest.raises(GeometryError, match="x: .*1.50 mm apart"):
        load_pair(Pair("x", a, Reference(b)), SITE, NAMES)
    plan = save_plan(tmp_path / "plan.dcm", label, affine)
    with pytest.raises(ConfigError, match="x: both sides are RTSTRUCT"):
        load_pair(Pair("x", plan, Reference(plan)), SITE, NAMES)
    with pytest.raises(GeometryError, match="on slice"):
        load_pair(Pair("x", b, Reference(plan)), SITE, NAMES)


def test_a_batch_of_a_data_set_names_its_cases_as_they_are_scored(dataset_dir, tmp_path):
    names = {case.name for case in find_cases(dataset_dir / "dataset.json")}
    predictions = find_label_maps(touched(tmp_path, *(f"{name}/segmentation.nii.gz" for name in names)))
    for section, cases in (("training", "abc"), ("validation", "de")):
        pairs, _ = pair_cases(predictions, find_references(dataset_dir, section, None), True)
        assert {pair.case: pair.prediction.parent.name for pair in pairs} == {case: case for case in cases}


def test_a_plan_may_use_the_clinic_s_names_and_an_error_names_the_case(scan, save_map, save_plan, tmp_path):
    label, affine = scan
    stored = save_map(tmp_path / "map.nii.gz", label, affine)
    names = {"parotid_left": "Lt Parotid", "parotid_right": "Parotis re", "eye_left": "Globe izq"}
    plan = save_plan(tmp_path / "pt_7" / "rtstruct.dcm", label, affine, names)
    loaded = load_pair(Pair("pt_7", stored, Reference(plan)), SITE, NAMES)
    assert loaded.labelled == tuple(SITE.values)
    assert np.array_equal(loaded.reference.label, loaded.prediction.label)

    twice = save_plan(tmp_path / "pt_8" / "rtstruct.dcm", label, affine, {"parotid_left": "Parotid right"})
    with pytest.raises(ConfigError, match="pt_8: rtstruct.dcm: 'Parotid right' and 'Parotid_R' are both parotid_right"):
        load_pair(Pair("pt_8", stored, Reference(twice)), SITE, NAMES)
    with pytest.raises(InputError, match="pt_9: .*none.nii.gz"):
        load_pair(Pair("pt_9", tmp_path / "none.nii.gz", Reference(stored)), SITE, NAMES)


def test_silver_labels_and_parts_of_a_data_set_are_no_references(tmp_path):
    touched(tmp_path / "silver", "silver.json", "labels/a.nii.gz")
    for place in ("silver/labels", "silver", "silver/labels/a.nii.gz"):
        with pytest.raises(ConfigError, match="silver labels, which never score"):
            find_references(tmp_path / place, "validation", None)
    touched(tmp_path / "data", "labels_propagated/a.nii.gz")
    (tmp_path / "data/dataset.json").write_text('{"training": [{"label_propagated": "labels_propagated/a.nii.gz"}]}')
    with pytest.raises(ConfigError, match="belongs to a data set; give data"):
        find_references(tmp_path / "data/labels_propagated", "validation", None)
