"""The two-stage bundle without a weight file: its networks are those of the bundles beside it."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch

from oarseg.bundles.facts import shipped as facts
from oarseg.bundles.pack import pack
from oarseg.bundles.render import render
from oarseg.bundles.unpack import unpack
from oarseg.bundles.weights import install, part_specs, weights_entry
from oarseg.checksum import FILE, METADATA, part_files, read_metadata, sha256, verified, weights_size
from oarseg.cli import main
from oarseg.errors import WeightsError
from oarseg.inference import Pipeline
from oarseg.inference.engines.stored import read_table
from oarseg.sites import load_site
from oarseg.training import LoadWeights
from oarseg.training.weights import read_state

SITE = load_site()
WHOLE, EYE = "hn_ct_two_stage", "eye_left_ct_segmentation"


def note(folder: Path, specs: dict) -> None:
    """Write what the metadata say of the weights, and nothing else, as ``oarseg bundles sync`` does."""
    kept = {key: value for key, value in read_metadata(folder).items() if key not in ("weights_parts", "model_sha256")}
    (folder / METADATA).write_text(json.dumps(kept | weights_entry(specs[folder.name], folder), indent=4) + "\n")


@pytest.fixture
def root(small_root: Path, tmp_path: Path, specs: dict) -> Path:
    """The small bundles, the two-stage one without a file."""
    shutil.copytree(small_root, tmp_path / "root")
    (tmp_path / "root" / WHOLE / FILE).unlink()
    note(tmp_path / "root" / WHOLE, specs)
    return tmp_path / "root"


def same(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_the_shipped_bundle_has_no_file_and_names_its_parts(shipped: Path) -> None:
    parts, meta = part_files(shipped / WHOLE), read_metadata(shipped / WHOLE)
    assert len(parts) == 9 and weights_size(shipped / WHOLE) == sum(path.stat().st_size for path in parts.values())
    for prefix, path in parts.items():
        named = read_metadata(path.parents[1])["weights_sha256"]
        assert meta["weights_parts"][prefix] == {"bundle": path.parents[1].name, "sha256": named}
    assert meta["weights_sha256"] == facts().weights[WHOLE] == verified(shipped / WHOLE)[1]
    table = read_table(shipped / WHOLE / "models/compressed")
    assert table.model_sha256 == meta["weights_sha256"], "or CPUs do not take the compressed networks"


def test_the_state_dict_is_that_of_the_file(small_root: Path, root: Path) -> None:
    assert same(read_state(root / WHOLE / FILE), read_state(small_root / WHOLE / FILE))
    before = sorted(root.rglob("*"))
    network = Pipeline(root / WHOLE, "cpu", engine="torch").network
    assert network.localizer.head.bias.tolist()[4] == 4
    LoadWeights(str(root / WHOLE), str(root / WHOLE / FILE), network)()
    assert sorted(root.rglob("*")) == before, "nothing is written"


def test_from_any_place_of_the_bundle(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = read_state(root / WHOLE / FILE)
    for place, path in ((root / WHOLE, FILE), (root, f"{WHOLE}/{FILE}"), (root / WHOLE / "models", f"../{FILE}")):
        monkeypatch.chdir(place)
        assert same(read_state(path), expected)


def test_monai_runs_it(root: Path, tmp_path: Path, workflow) -> None:
    config = {"dataset_dir": str(tmp_path), "output_dir": str(tmp_path / "out")}
    run = workflow("infer", root / WHOLE, "inference.json", **config)
    run.initialize()
    for handler in run.parser.get_parsed_content("handlers"):
        if isinstance(handler, LoadWeights):
            handler()
    assert run.network_def.localizer.head.bias.tolist()[4] == 4


def test_a_retrained_part_needs_a_sync(root: Path, specs: dict) -> None:
    state = read_state(root / EYE / FILE)
    torch.save({key: value + 1 for key, value in state.items()}, root / EYE / FILE)
    with pytest.raises(WeightsError, match=EYE):
        verified(root / WHOLE)
    note(root / EYE, specs)
    with pytest.raises(WeightsError, match=WHOLE):
        verified(root / WHOLE)
    before = read_metadata(root / WHOLE)["weights_sha256"]
    note(root / WHOLE, specs)
    assert verified(root / WHOLE)[1] != before


def test_a_part_that_is_not_there(root: Path, tmp_path: Path, specs: dict) -> None:
    shutil.copytree(root / WHOLE, tmp_path / "alone" / WHOLE)
    with pytest.raises(WeightsError, match="put hn_ct_localizer beside it, or unpack a packed hn_ct_two_stage"):
        read_state(tmp_path / "alone" / WHOLE / FILE)
    assert weights_entry(specs[WHOLE], tmp_path / "alone" / WHOLE) == {}


def test_packed_it_stands_alone(root: Path, tmp_path: Path, specs: dict) -> None:
    paths = [pack(SITE, root, tmp_path / out, [WHOLE], base_url="https://example.org")[0].path for out in ("a", "b")]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert not (root / WHOLE / FILE).exists(), "nothing is written beside the bundles"
    folder, _ = unpack(str(paths[0]), tmp_path / "got")
    assert verified(folder) == (folder / FILE, verified(root / WHOLE)[1])
    assert same(read_state(folder / FILE), read_state(root / WHOLE / FILE))
    assert read_metadata(folder)["model_sha256"] == sha256(folder / FILE)
    # A sync of the copy, with or without the others beside it, changes nothing.
    assert weights_entry(specs[WHOLE], folder).items() <= read_metadata(folder).items()
    (folder / FILE).write_bytes((root / EYE / FILE).read_bytes())
    with pytest.raises(WeightsError, match="has SHA-256"):
        verified(folder)


def test_the_published_metadata_are_what_a_sync_renders(published: Path, specs: dict) -> None:
    for name in (WHOLE, EYE):
        assert render(specs[name], published / name)[METADATA] == (published / name / METADATA).read_bytes()


def test_without_pytorch_one_line_says_so(shipped: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    address = ["--out", str(tmp_path / "zoo"), "--base-url", "https://example.org"]
    for command in (["pack", WHOLE, *address], ["weights", WHOLE, "--root", str(tmp_path)]):
        assert main(["bundles", *command]) == 2
        assert "needs PyTorch: pip install 'oarseg[monai]'" in capsys.readouterr().err
    # An organ's bundle has its file already.
    assert main(["bundles", "pack", EYE, *address]) == 0 and main(["bundles", "sync", "--check"]) == 0


def test_a_file_for_monai_label(shipped: Path, tmp_path: Path, specs: dict) -> None:
    for part in part_specs(SITE).values():
        shutil.copytree(shipped / part.name, tmp_path / part.name)
    shutil.copytree(shipped / WHOLE / "configs", tmp_path / WHOLE / "configs")
    checksum = install(specs[WHOLE], tmp_path)
    assert checksum == sha256(tmp_path / WHOLE / FILE)
    assert verified(tmp_path / WHOLE)[1] == facts().weights[WHOLE]


def test_a_file_of_its_own_is_its_identity(small_root: Path) -> None:
    """As in bundles that were packed with 0.1.0."""
    assert verified(small_root / WHOLE) == (small_root / WHOLE / FILE, sha256(small_root / WHOLE / FILE))
    assert "weights_parts" not in read_metadata(small_root / WHOLE)
