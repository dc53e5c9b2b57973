"""Datalists: what is read, and what is refused with a reason."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from oarseg.datasets import list_images, load_datalist, output_name
from oarseg.datasets.datalist import case_name, case_names
from oarseg.errors import ConfigError, InputError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three cases: one complete, one partial, one with silver labels."""
    for name in ("a", "b", "c", "a_label", "b_label", "c_label", "c_silver"):
        (tmp_path / f"{name}.nii.gz").touch()
    rows = [
        {"image": "a.nii.gz", "label": "a_label.nii.gz", "labelled": ["brainstem", "eye_left", "parotid_left"]},
        {"image": "b.nii.gz", "label": "b_label.nii.gz", "labelled": ["parotid_right"]},
        {
            "image": "c.nii.gz", "label": "c_label.nii.gz", "labelled": ["brainstem"],
            "label_propagated": "c_silver.nii.gz", "propagated": ["eye_left", "brainstem"],
        },
    ]  # fmt: skip
    write(tmp_path, {"training": rows, "validation": rows[:1]})
    return tmp_path


def write(folder: Path, content: object) -> None:
    (folder / "dataset.json").write_text(json.dumps(content), encoding="utf-8")


def change(folder: Path, **row: object) -> None:
    """Change the first training row; None removes a field."""
    content = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    content["training"][0] = {k: v for k, v in (content["training"][0] | row).items() if v is not None}
    write(folder, content)


def names(cases: list[dict]) -> list[str]:
    return [Path(case["image"]).name[0] for case in cases]


def test_sections_and_absolute_paths(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = load_datalist(folder, "training")
    assert names(cases) == ["a", "b", "c"]
    assert cases[0] == {
        "image": str(folder.resolve() / "a.nii.gz"),
        "label": str(folder.resolve() / "a_label.nii.gz"),
        "labelled": ["brainstem", "eye_left", "parotid_left"],
    }
    assert names(load_datalist(folder, "validation")) == ["a"]
    monkeypatch.chdir(folder.parent)
    assert load_datalist(folder.name, "training") == cases


def test_silver_labels_only_where_asked_for(folder: Path) -> None:
    plain, silver = load_datalist(folder, "training")[2], load_datalist(folder, "training", silver=True)[2]
    assert (Path(plain["label"]).name, plain["labelled"]) == ("c_label.nii.gz", ["brainstem"])
    assert (Path(silver["label"]).name, silver["labelled"]) == ("c_silver.nii.gz", ["brainstem", "eye_left"])


def test_cases_of_one_organ_or_its_twin(folder: Path) -> None:
    assert names(load_datalist(folder, "training", organ="eye_left")) == ["a"]
    assert names(load_datalist(folder, "training", organ="eye_left", silver=True)) == ["a", "c"]
    assert names(load_datalist(folder, "training", organ="parotid_left", mirror="parotid_right")) == ["a", "b"]
    assert names(load_datalist(folder, "training", organ="brainstem", mirror=None)) == ["a", "c"]
    with pytest.raises(ConfigError, match="no case in 'validation' labels mandible"):
        load_datalist(folder, "validation", organ="mandible")


def test_true_labels_more_often_where_others_are_silver(folder: Path) -> None:
    def repeated(**more: object) -> list[str]:
        return names(load_datalist(folder, "training", silver=True, expert_repeat=3, **more))

    assert repeated() == ["a", "a", "a", "b", "c"]
    assert repeated(organ="eye_left") == ["a", "a", "a", "c"]
    assert repeated(organ="eye_right", mirror="eye_left") == ["a", "a", "a", "c"]
    # Silver nowhere: all labels of the brainstem are alike.
    assert repeated(organ="brainstem") == ["a", "c"]
    assert names(load_datalist(folder, "training", expert_repeat=3)) == ["a", "b", "c"]
    with pytest.raises(ConfigError, match="expert_repeat is 0"):
        load_datalist(folder, "training", expert_repeat=0)


def test_silver_labels_from_a_folder(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    silver = tmp_path_factory.mktemp("silver")
    (silver / "b.nii.gz").touch()
    cases = {"b.nii.gz": {"label": "b.nii.gz", "organs": {"eye_left": "network", "parotid_right": "network"}}}
    content = {"section": "training", "round": 1, "cases": cases}
    (silver / "silver.json").write_text(json.dumps(content), encoding="utf-8")
    a, b, c = load_datalist(folder, "training", silver=str(silver))
    assert Path(b["label"]) == silver.resolve() / "b.nii.gz" and b["labelled"] == ["parotid_right", "eye_left"]
    # It replaces the propagated labels.
    assert (Path(c["label"]).name, c["labelled"]) == ("c_label.nii.gz", ["brainstem"])
    assert names(load_datalist(folder, "training", silver=silver, organ="eye_left", expert_repeat=2)) == ["a", "a", "b"]
    with pytest.raises(ConfigError, match="for section 'training', not for 'validation'"):
        load_datalist(folder, "validation", silver=silver)
    with pytest.raises(InputError, match="silver is true, false, or a folder"):
        load_datalist(folder, "training", silver="yes")


def test_no_datalist(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no datalist at .*dataset.json .*; set dataset_dir"):
        load_datalist(tmp_path, "training")


@pytest.mark.parametrize("text", ["{", "[1, 2]", "\udcff"])
def test_no_json(text: str, tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ConfigError, match="no JSON datalist"):
        load_datalist(tmp_path, "training")


def test_unknown_section_and_empty_section(folder: Path) -> None:
    with pytest.raises(ConfigError, match="no section 'test'"):
        load_datalist(folder, "test")
    write(folder, {"training": []})
    with pytest.raises(ConfigError, match="no case in 'training' labels anything"):
        load_datalist(folder, "training")


@pytest.mark.parametrize("field", ["image", "label", "labelled"])
def test_row_without_a_field(field: str, folder: Path) -> None:
    change(folder, **{field: None})
    with pytest.raises(ConfigError, match=f"lacks '{field}'"):
        load_datalist(folder, "training")


def test_propagated_labels_without_their_list(folder: Path) -> None:
    change(folder, label_propagated="c_silver.nii.gz")
    assert load_datalist(folder, "training")
    with pytest.raises(ConfigError, match="lacks 'propagated'"):
        load_datalist(folder, "training", silver=True)


def test_missing_file(folder: Path) -> None:
    (folder / "b_label.nii.gz").unlink()
    with pytest.raises(InputError, match="'b_label.nii.gz', which does not exist"):
        load_datalist(folder, "training")


@pytest.mark.parametrize("where", ["../outside.nii.gz", "/etc/hostname"])
def test_path_outside_the_folder(where: str, folder: Path) -> None:
    (folder.parent / "outside.nii.gz").touch()
    change(folder, image=where)
    with pytest.raises(InputError, match="lies outside"):
        load_datalist(folder, "training")


def test_link_out_of_the_folder(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    secret = tmp_path_factory.mktemp("other") / "secret.nii.gz"
    secret.touch()
    (folder / "a.nii.gz").unlink()
    (folder / "a.nii.gz").symlink_to(secret)
    with pytest.raises(InputError, match="lies outside"):
        load_datalist(folder, "training")


@pytest.mark.parametrize("rows", ["text", {"a": 1}, [3], [None], 5])
def test_section_that_is_no_list_of_rows(rows: object, folder: Path) -> None:
    write(folder, {"training": rows})
    with pytest.raises(ConfigError):
        load_datalist(folder, "training")


def test_list_images(tmp_path: Path) -> None:
    for name in ("b.nii.gz", "a.nrrd", "notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / "series").mkdir()
    assert [Path(i["image"]).name for i in list_images(tmp_path)] == ["a.nrrd", "b.nii.gz", "series"]
    slices = tmp_path / "series"
    (slices / "1.dcm").touch()
    assert list_images(slices) == [{"image": str(slices)}]
    with pytest.raises(InputError, match="no folder"):
        list_images(tmp_path / "nowhere")


def test_results_have_names_of_their_own(tmp_path):
    for name in ("1.2.840.1", "1.2.840.2"):
        (tmp_path / name).mkdir()
    (tmp_path / "head.v2.nii.gz").touch()
    names = [output_name({"filename_or_obj": item["image"]})["subject"] for item in list_images(tmp_path)]
    assert names == ["1_2_840_1", "1_2_840_2", "head_v2"]
    (tmp_path / "head.v2.nrrd").touch()
    with pytest.raises(InputError, match="called .head_v2.: .*head.v2.nii.gz and .*head.v2.nrrd"):
        list_images(tmp_path)


@pytest.mark.parametrize("labelled", ["brainstem", {"brainstem": 1}, [1], [None], [["brainstem"]], 5, True])
def test_labelled_that_is_no_list_of_organs(labelled: object, folder: Path) -> None:
    change(folder, labelled=labelled)
    with pytest.raises(ConfigError, match="'labelled' is .*, expected a list of organ keys"):
        load_datalist(folder, "training")


def test_labelled_that_is_null_or_nested_without_end(folder: Path) -> None:
    content = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    content["training"][0]["labelled"] = None
    write(folder, content)
    with pytest.raises(ConfigError, match="'labelled' is None, expected a list"):
        load_datalist(folder, "training")
    deep = json.dumps(content).replace('"labelled": null', '"labelled": ' + "[" * 400 + "]" * 400)
    (folder / "dataset.json").write_text(deep, encoding="utf-8")
    with pytest.raises(ConfigError, match="'labelled' is") as told:
        load_datalist(folder, "training")
    assert len(str(told.value)) < 600


@pytest.mark.parametrize("field", ["image", "label"])
def test_file_names_that_are_none(field: str, folder: Path) -> None:
    change(folder, **{field: ["a.nii.gz"]})
    with pytest.raises(ConfigError, match=f"'{field}' is .*, expected a file name"):
        load_datalist(folder, "training")


def test_propagated_that_is_no_list_of_organs(folder: Path) -> None:
    change(folder, label_propagated="c_silver.nii.gz", propagated="eye_left")
    with pytest.raises(ConfigError, match="'propagated' is 'eye_left'"):
        load_datalist(folder, "training", silver=True)


def test_case_names_keep_their_dots_and_are_printable() -> None:
    assert case_names(["a/pt.1.nii.gz", "b/pt_1.2.nii.gz", "1.2.840"]) == ["pt.1", "pt_1.2", "1.2.840"]
    assert case_name("x/a\n\udcff.nrrd") == "a\\n\\udcff"
    with pytest.raises(InputError, match="two images are called 'ct'"):
        case_names(["a/ct.nii.gz", "b/ct.nii"])
