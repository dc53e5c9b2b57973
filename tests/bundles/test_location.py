"""How a bundle's config finds its own folder, whichever way it is run."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
from monai.bundle import ConfigParser, ConfigWorkflow

from oarseg.bundles import FOLDER, location, name_of, root, where
from oarseg.cli import main
from oarseg.errors import ConfigError

NAME = "hn_ct_localizer"


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A downloaded copy of a bundle, its configs only; Python's path without bundles that ran, put back afterwards."""
    monkeypatch.setattr(sys, "path", [p for p in sys.path if not Path(p, "configs/metadata.json").is_file()])
    return Path(shutil.copytree(FOLDER / NAME / "configs", tmp_path / "downloaded" / NAME / "configs")).parent


def found(config_file: str | list[str], **override: object) -> str:
    """What ``bundle_root`` is in a run, as ``python -m monai.bundle run --config_file ...`` does it."""
    override = {"initialize": [], "run": "$@bundle_root", **override}
    workflow = ConfigWorkflow(config_file=config_file, workflow_type="infer", logging_file=False, **override)
    workflow.initialize()
    return str(workflow.run()[0])


def test_one_config_file(copy: Path) -> None:
    assert found(str(copy / "configs/inference.json")) == str(copy)


def test_several_config_files(copy: Path) -> None:
    assert found([str(copy / "configs" / name) for name in ("train.json", "evaluate.json")]) == str(copy)


def test_a_path_relative_to_the_current_folder(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(copy.parent)
    assert found(f"{NAME}/configs/inference.json") == str(copy)


@pytest.mark.parametrize(("inside", "file"), [(".", "configs/inference.json"), ("configs", "inference.json")])
def test_from_inside_the_bundle(inside: str, file: str, copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(copy / inside)
    assert found(file) == str(copy)


def test_the_config_comes_before_the_current_folder(copy: Path, tmp_path: Path, monkeypatch) -> None:
    other = shutil.copytree(copy, tmp_path / "other" / NAME)
    monkeypatch.chdir(other)
    monkeypatch.setattr(sys, "path", [str(other), *sys.path[1:]])  # as python -m has it
    assert found(str(copy / "configs/inference.json")) == str(copy)


def test_the_last_of_two_runs(copy: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(copy, tmp_path / "other" / NAME))
    for folder in (copy, other, copy):
        assert found(str(folder / "configs/inference.json")) == str(folder)


def test_bundle_root_overrides_it(copy: Path, tmp_path: Path) -> None:
    assert found(str(copy / "configs/inference.json"), bundle_root=str(tmp_path)) == str(tmp_path)


def test_a_config_read_from_within_the_bundle(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(copy)
    assert root(NAME) == str(copy)


def test_otherwise_the_installed_one(copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert root(NAME) == str(FOLDER / NAME)
    with pytest.raises(ConfigError, match="'toy_ct_localizer' .*--bundle_root"):
        root("toy_ct_localizer")


def test_arguments_of_the_process_do_not_matter(copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["run", "--config_file", str(copy / "configs/inference.json")])
    assert root(NAME) == str(FOLDER / NAME)


def test_as_monai_label_reads_it(copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It reads the inference config alone, without metadata, and gives the folder."""
    monkeypatch.chdir(tmp_path)
    parser = ConfigParser()
    parser.read_config(str(copy / "configs/inference.json"))
    parser["bundle_root"] = str(copy)
    assert parser.get_parsed_content("output_dir") == f"runs/{NAME}/inference"
    assert name_of(str(copy)) == NAME


@pytest.mark.parametrize("text", [None, "{", "[]", '{"name": 5}'])
def test_a_folder_that_is_no_bundle(text: str | None, tmp_path: Path) -> None:
    (tmp_path / "configs").mkdir()
    if text:
        (tmp_path / "configs/metadata.json").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=str(tmp_path)):
        name_of(str(tmp_path))


def test_where_the_installed_bundles_are() -> None:
    assert where() == FOLDER
    assert json.loads((where(NAME) / "configs/metadata.json").read_text(encoding="utf-8"))["name"] == NAME
    for name in ("templates", "nose_ct_segmentation", "../bundles/hn_ct_localizer"):
        with pytest.raises(ConfigError, match="brainstem_ct_segmentation, .*hn_ct_two_stage"):
            where(name)


def test_the_command_that_says_where(capsys: pytest.CaptureFixture) -> None:
    assert main(["bundles", "where"]) == 0
    assert main(["bundles", "where", NAME]) == 0
    assert capsys.readouterr().out == f"{FOLDER}\n{FOLDER / NAME}\n"
    assert main(["bundles", "where", "nose"]) == 2
    assert "no bundle 'nose'" in capsys.readouterr().err


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place that looks like an installed package, not like a clone."""
    folder = tmp_path / "site-packages/oarseg/bundles"
    folder.mkdir(parents=True)
    monkeypatch.setattr(location, "FOLDER", folder)
    return folder


def test_a_checkout_is_changed_without_asking() -> None:
    assert location.changeable(None) == FOLDER


def test_an_installed_package_is_not_changed(installed: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    for command in (["sync"], ["weights", "hn_ct_two_stage"], ["sync", "--root", str(installed)]):
        assert main(["bundles", *command]) == 2
        shown = capsys.readouterr().err
        assert str(installed) in shown and "--root" in shown and "--installed" in shown
    assert not list(installed.iterdir())
    assert location.changeable(tmp_path) == tmp_path
    assert location.changeable(None, installed=True) == installed
