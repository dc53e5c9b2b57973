"""The bundles in the repository are what the site table and the templates say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from oarseg.bundles.render import sync
from oarseg.cli import main
from oarseg.sites import load_site
from oarseg.sites.table import FOLDER as SITES

SHARED = ("train.json", "evaluate.json", "inference.json", "multi_gpu_train.json", "logging.conf", "site.json")


def test_no_drift(capsys: pytest.CaptureFixture) -> None:
    assert main(["bundles", "sync", "--check"]) == 0, capsys.readouterr().out


def test_sync_is_idempotent_and_check_names_the_drifted_file(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    root = ["--root", str(tmp_path)]
    assert main(["bundles", "sync", "--check", *root]) == 1
    assert not any(tmp_path.iterdir()), "--check must not write"
    assert main(["bundles", "sync", *root]) == 0
    capsys.readouterr()
    assert main(["bundles", "sync", "--check", *root]) == 0
    edited = tmp_path / "mandible_ct_segmentation/configs/train.json"
    edited.write_text(edited.read_text(encoding="utf-8").replace("6000", "6001"), encoding="utf-8")
    (tmp_path / "hn_ct_localizer/LICENSE").unlink()
    capsys.readouterr()
    assert main(["bundles", "sync", "--check", *root]) == 1
    shown = [line for line in capsys.readouterr().out.splitlines() if line.startswith("differs: ")]
    assert shown == ["differs: hn_ct_localizer/LICENSE", "differs: mandible_ct_segmentation/configs/train.json"]
    assert main(["bundles", "sync", *root]) == 0
    assert '"steps": 6000' in edited.read_text(encoding="utf-8")
    assert main(["bundles", "sync", "--check", *root]) == 0


def test_organ_bundles_share_their_configs(shipped: Path, specs: dict) -> None:
    folders = [shipped / name / "configs" for name, spec in specs.items() if spec.kind == "organ"]
    assert len(folders) == 8
    for config in SHARED:
        assert len({(folder / config).read_bytes() for folder in folders}) == 1, config
    keys = [json.loads((folder / "organ.json").read_text(encoding="utf-8"))["key"] for folder in folders]
    assert keys == [organ.key for organ in load_site().organs]


def test_every_bundle_has_what_the_zoo_requires(name: str, shipped: Path) -> None:
    files = ["configs/metadata.json", "configs/inference.json", "docs/README.md", "docs/data_license.txt"]
    for file in ("LICENSE", *files):
        assert (shipped / name / file).stat().st_size > 0
    for config in (shipped / name / "configs").glob("*.json"):
        json.loads(config.read_text(encoding="utf-8"))


def test_a_new_organ_is_a_new_row(tmp_path: Path) -> None:
    raw = json.loads((SITES / "head_neck.json").read_text(encoding="utf-8"))
    new = {"key": "larynx", "value": 9, "name": "Larynx", "title": "larynx", "color": [1, 2, 3], "mirror": None}
    raw["organs"].append(raw["organs"][0] | new)
    (tmp_path / "head_neck.json").write_text(json.dumps(raw), encoding="utf-8")
    changed = sync(load_site(str(tmp_path / "head_neck.json")), tmp_path / "bundles")
    assert "larynx_ct_segmentation/configs/metadata.json" in changed
    meta = json.loads((tmp_path / "bundles/hn_ct_localizer/configs/metadata.json").read_text(encoding="utf-8"))
    assert meta["network_data_format"]["outputs"]["pred"]["num_channels"] == 10
