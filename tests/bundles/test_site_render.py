"""Bundles of the sites that have no weights, and of a table of one's own."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from monai.bundle import ConfigParser

from oarseg import __version__
from oarseg.bundles.card import card
from oarseg.bundles.facts import shipped as facts
from oarseg.bundles.metadata import eval_metrics
from oarseg.bundles.render import sync
from oarseg.bundles.spec import bundle_specs
from oarseg.cli import main
from oarseg.errors import ConfigError
from oarseg.networks import TwoStageNet
from oarseg.sites import load_site
from oarseg.sites.table import FOLDER
from oarseg.training.weights import FILE, save_weights, verified

SITES = ["abdomen", "pelvis", "thorax"]
_PLACES = (
    os.environ.get("OARSEG_META_SCHEMA", ""),
    str(Path(__file__).resolve().parents[2].parent / "shared/data/schema/meta_schema_20240725.json"),
)
SCHEMA = next((place for place in _PLACES if place and Path(place).is_file()), None)


@pytest.fixture(params=SITES)
def site(request: pytest.FixtureRequest):
    return load_site(request.param)


def own_table(folder: Path, **change: object) -> Path:
    """The thorax' table under another name, as a user's own."""
    raw = json.loads((FOLDER / "thorax.json").read_text(encoding="utf-8"))
    own = {"site": "chest", "prefix": "chest_ct", "title": "chest", "organ_bundles": "chest_{key}_ct_segmentation"}
    path = folder / "my_chest.json"
    path.write_text(json.dumps(raw | own | change), encoding="utf-8")
    return path


def read(folder: Path, file: str) -> dict:
    return json.loads((folder / "configs" / file).read_text(encoding="utf-8"))


def test_a_complete_set(site, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["bundles", "sync", "--site", site.site, "--root", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    names = [f"{site.site}_{o.key}_ct_segmentation" for o in site.organs]
    expected = {f"{site.site}_ct_localizer", *names, f"{site.site}_ct_two_stage"}
    assert {folder.name for folder in tmp_path.iterdir()} == expected
    assert shown.splitlines()[-1].startswith(f"without weights: {site.site}_ct_localizer, ")
    for folder in tmp_path.iterdir():
        for file in ("train", "evaluate", "inference", "multi_gpu_train", "metadata", "site"):
            assert read(folder, f"{file}.json")
        assert (folder / "LICENSE").is_file() and not (folder / FILE).exists()
        assert (folder / "configs/site.json").read_bytes() == (FOLDER / f"{site.site}.json").read_bytes()
        card = (folder / "docs/README.md").read_text(encoding="utf-8")
        assert f"**No weights are shipped for this site: oarseg has no {site.title} data.**" in card
        assert "docs/new-site.md" in card and "There are none yet" in card
    assert main(["bundles", "sync", "--check", "--site", site.site, "--root", str(tmp_path)]) == 0


def test_nothing_of_head_and_neck_is_claimed(site, tmp_path: Path) -> None:
    sync(site, tmp_path)
    for path in tmp_path.rglob("*"):
        if path.is_file() and path.name != "LICENSE":
            text = path.read_text(encoding="utf-8").lower()
            for word in ("hn_ct", "han_ct", "head_neck", "head-and-neck", "openkbp", "parotid", "94 "):
                assert word not in text, f"{path.relative_to(tmp_path)}: {word}"


def test_metadata(site, tmp_path: Path) -> None:
    sync(site, tmp_path)
    for spec in bundle_specs(site):
        meta = read(tmp_path / spec.name, "metadata.json")
        assert meta["name"] == spec.name and meta["version"] == __version__ in meta["changelog"]
        assert meta["eval_metrics"] == {} and "weights_sha256" not in meta
        pred = meta["network_data_format"]["outputs"]["pred"]
        assert pred["num_channels"] == (2 if spec.organ else len(site.organs) + 1)
        text = (tmp_path / spec.name / "configs/metadata.json").read_text(encoding="utf-8")
        assert "#" not in text and not any(f'"{mark}' in text for mark in "%$@")


@pytest.mark.skipif(SCHEMA is None, reason="meta_schema_20240725.json is not there (set OARSEG_META_SCHEMA)")
def test_metadata_validates_against_the_schema(site, tmp_path: Path) -> None:
    import jsonschema

    sync(site, tmp_path)
    schema = json.loads(Path(SCHEMA).read_text(encoding="utf-8"))
    for spec in bundle_specs(site):
        jsonschema.validate(read(tmp_path / spec.name, "metadata.json"), schema)


def test_an_asymmetric_site_is_never_mirrored(tmp_path: Path) -> None:
    for name in ("thorax", "pelvis"):
        site = load_site(name)
        sync(site, tmp_path)
        for spec in bundle_specs(site):
            config = read(tmp_path / spec.name, "train.json")
            targets = [t["_target_"] for t in config["train"]["random_transforms"]]
            mirrored = config.get("mirrored", "oarseg.transforms.RandMirrord" in targets)
            assert mirrored is site.symmetric, spec.name


def test_organs_look_for_the_localizer_of_their_site(tmp_path: Path) -> None:
    sync(load_site("thorax"), tmp_path)
    for config in ("inference.json", "evaluate.json"):
        folder = tmp_path / "thorax_heart_ct_segmentation"
        parser = ConfigParser()
        # evaluate.json lies over train.json, as on the command line.
        parser.read_config([str(folder / "configs" / name) for name in ("train.json", config)])
        parser["bundle_root"] = str(folder)
        found = Path(parser.get_parsed_content("localizer_root")).resolve()
        assert found == (tmp_path / "thorax_ct_localizer").resolve() and found.is_dir()


def test_a_table_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    table, root = own_table(tmp_path), tmp_path / "bundles"
    arguments = ["--site", str(table), "--root", str(root)]
    assert main(["bundles", "sync", *arguments]) == 0
    assert (root / "chest_ct_two_stage/configs/site.json").read_bytes() == table.read_bytes()
    assert read(root / "chest_heart_ct_segmentation", "organ.json") == {"key": "heart"}
    assert main(["organs", "--site", str(table)]) == 0
    captured = capsys.readouterr()
    assert "oesophagus" in captured.out and "site chest has no weights" in captured.err
    assert main(["bundles", "sync", "--check", *arguments]) == 0
    table.write_text(table.read_text(encoding="utf-8").replace('"std": 1.0', '"std": 2.0', 1), encoding="utf-8")
    assert main(["bundles", "sync", "--check", *arguments]) == 1


def test_an_organ_known_elsewhere_gets_no_scores_from_there(tmp_path: Path) -> None:
    raw = json.loads((FOLDER / "head_neck.json").read_text(encoding="utf-8"))
    raw |= {"site": "mine", "prefix": "mine_ct", "organ_bundles": "mine_{key}"}
    table = tmp_path / "mine.json"
    table.write_text(json.dumps(raw), encoding="utf-8")
    spec = next(s for s in bundle_specs(load_site(str(table))) if s.name == "mine_brainstem")
    assert eval_metrics(spec, facts().weights["brainstem_ct_segmentation"]) == {}
    ours = next(s for s in bundle_specs(load_site()) if s.organ)
    assert eval_metrics(ours, facts().weights[ours.name]), "while the shipped one has them"


def test_weights_of_ones_own_in_a_shipped_bundle_get_no_scores(tmp_path: Path, shipped: Path, specs: dict) -> None:
    for name, spec in specs.items():
        checksum = verified(shipped / name)[1]
        assert checksum == facts().weights[name], "new weights: renew bundles/shipped.json"
        known = card(spec, checksum)
        assert "did not come with oarseg" not in known and "experiments/results" in known
        other = card(spec, "0" * 64)
        assert "did not come with oarseg" in other and "No validation results are stored" in other
        assert "Dice 0." not in other and "Apache" not in other and eval_metrics(spec, "0" * 64) == {}


def test_weights_of_ones_own_are_not_called_oarsegs(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    table = own_table(tmp_path, data="12 chest CTs of my own")
    site, root = load_site(str(table)), tmp_path / "bundles"
    save_weights(TwoStageNet.for_site(site).organs["heart"].state_dict(), tmp_path / "heart.pt")
    arguments = ["chest_heart_ct_segmentation", str(tmp_path / "heart.pt"), "--site", str(table), "--root", str(root)]
    assert main(["bundles", "weights", *arguments]) == 0
    checksum = capsys.readouterr().out.split()[-1]
    folder = root / "chest_heart_ct_segmentation"
    card = (folder / "docs/README.md").read_text(encoding="utf-8")
    assert "These weights did not come with oarseg." in card and f"SHA-256 `{checksum}`" in card
    assert "Trained on: 12 chest CTs of my own" in card and "No weights are shipped" not in card
    assert read(folder, "metadata.json")["weights_sha256"] == checksum
    assert "**No weights are shipped" in (root / "chest_ct_localizer/docs/README.md").read_text(encoding="utf-8")


def test_another_sites_bundles_are_not_overwritten(tmp_path: Path) -> None:
    sync(load_site("thorax"), tmp_path / "bundles")
    table = own_table(tmp_path, organ_bundles="thorax_{key}_ct_segmentation")
    before = {path: path.read_bytes() for path in (tmp_path / "bundles").rglob("*") if path.is_file()}
    with pytest.raises(ConfigError, match="_spinal_cord_ct_segmentation is a bundle of site 'thorax', not of 'chest'"):
        sync(load_site(str(table)), tmp_path / "bundles")
    after = {path: path.read_bytes() for path in (tmp_path / "bundles").rglob("*") if path.is_file()}
    assert after == before


def test_two_bundles_of_one_name(tmp_path: Path) -> None:
    raw = json.loads((FOLDER / "thorax.json").read_text(encoding="utf-8"))
    raw["organs"][3]["key"] = "ct"
    raw |= {"prefix": "thorax_ct", "organ_bundles": "thorax_{key}_two_stage"}
    table = tmp_path / "thorax.json"
    table.write_text(json.dumps(raw), encoding="utf-8")
    with pytest.raises(ConfigError, match="two bundles would be called thorax_ct_two_stage"):
        sync(load_site(str(table)), tmp_path / "bundles")
    assert not (tmp_path / "bundles").exists()
