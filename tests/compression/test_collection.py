"""The packed networks of a two-stage bundle."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from oarseg.bundles.render import sync
from oarseg.checksum import sha256 as file_sha256
from oarseg.cli import main
from oarseg.compression import collection
from oarseg.compression.calibrate import refuse_stale, statistics
from oarseg.compression.collection import changeable_bundle, levels_of, pack, write_collection
from oarseg.errors import ConfigError
from oarseg.inference.engines.graph import names
from oarseg.inference.engines.packed.reading import read_arrays
from oarseg.inference.engines.stored import FILE as RANGES
from oarseg.inference.engines.stored import Row, read_table, write_table
from oarseg.networks import TwoStageNet, UNet3d
from oarseg.sites import load_site
from oarseg.training.weights import save_weights


def test_a_packed_network_holds_few_values_and_the_network_stays(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = UNet3d(2, base_width=4, poolings=2)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    size = pack(network, "layer", 7, tmp_path / "a.packed")
    found = read_arrays(tmp_path / "a.packed")
    assert size == (tmp_path / "a.packed").stat().st_size
    assert set(found) == set(before)
    kernel = found["encoder.1.0.weight"]
    assert len(np.unique(kernel)) <= 7
    assert np.abs(kernel - before["encoder.1.0.weight"].numpy()).max() < 0.5 * np.abs(kernel).max()
    np.testing.assert_array_equal(found["head.bias"], before["head.bias"].numpy())
    for name, tensor in network.state_dict().items():
        assert tensor.equal(before[name])


@pytest.mark.parametrize(
    "text", ["channel", "channel:", "channel:64", "channel:-3", "nothing:31", "channel:99999", ":31"]
)
def test_levels_that_do_not_exist_are_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        levels_of(text)


@pytest.fixture
def calibrated(tmp_path: Path) -> Path:
    """A two-stage bundle with small networks, packed, and ranges for them."""
    sync(load_site(), tmp_path)
    root = tmp_path / "hn_ct_two_stage"
    path, meta = root / "configs/site.json", root / "configs/metadata.json"
    table = json.loads(path.read_text())
    table["organs"] = [row | {"value": 1} for row in table["organs"] if row["key"] == "mandible"]
    for row in (table["localizer"], *table["organs"]):
        row["base_width"] = 4
    path.write_text(json.dumps(table))
    site = load_site(str(path))
    checksum = save_weights(TwoStageNet.for_site(site).state_dict(), root / "models/model.pt")
    meta.write_text(json.dumps(json.loads(meta.read_text()) | {"weights_sha256": checksum}))
    write_collection(str(root))
    folder, rows = root / collection.FOLDER, {}
    for name, (mean, std) in statistics(site).items():
        file = folder / f"{name}.packed"
        rows[name] = Row(file, file_sha256(file), mean, std, dict.fromkeys(names(3), (-4.0, 4.0)))
    write_table(folder / RANGES, checksum, rows, {})
    return root


def test_a_collection_that_ends_half_way_is_not_run(calibrated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor one that is not calibrated yet: the ranges are those of other files."""
    folder = calibrated / collection.FOLDER
    before = file_sha256(folder / "localizer.packed")
    monkeypatch.setattr(collection, "pack", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_collection(str(calibrated))
    assert read_table(folder) is None and file_sha256(folder / "localizer.packed") == before


def test_equal_files_of_another_model_can_be_calibrated(calibrated: Path) -> None:
    """A model.pt of which one network is new: the other's packed file is, to the byte, the one there was."""
    folder = calibrated / collection.FOLDER
    with pytest.raises(ConfigError, match="localizer.packed belongs to earlier weights"):
        refuse_stale(folder, "another")
    before = file_sha256(folder / "localizer.packed")
    write_collection(str(calibrated))
    assert file_sha256(folder / "localizer.packed") == before
    refuse_stale(folder, "another")


def test_settings_that_are_refused_change_nothing(calibrated: Path) -> None:
    with pytest.raises(ConfigError):
        write_collection(str(calibrated), organs="channel:64")
    assert read_table(calibrated / collection.FOLDER) is not None


def test_the_command_refuses_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compress", "collection", "--bundle", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("oarseg: error: ") and str(tmp_path) in error and error.count("\n") == 1


def test_the_command_packs_and_says_what_comes_next(calibrated: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compress", "collection", "--bundle", str(calibrated), "--organs", "layer:7"]) == 0
    out, err = capsys.readouterr()
    assert "localizer: " in out and "mandible: " in out
    assert f"oarseg compress calibrate DATASET --bundle {calibrated}" in out
    assert "packing: mandible" in err
    assert len(np.unique(read_arrays(calibrated / collection.FOLDER / "mandible.packed")["encoder.1.0.weight"])) <= 7


def test_an_installed_bundle_is_changed_only_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert changeable_bundle(None) == collection.BUNDLES / "hn_ct_two_stage"
    monkeypatch.setattr(collection, "BUNDLES", tmp_path / "oarseg" / "bundles")
    with pytest.raises(ConfigError, match="--bundle"):
        changeable_bundle(None)
    named = tmp_path / "oarseg" / "bundles" / "hn_ct_two_stage"
    assert changeable_bundle(named) == named


def test_a_smaller_localizer_takes_its_place(calibrated: Path, tmp_path: Path) -> None:
    torch.manual_seed(1)
    widths = {"encoder": [[3, 4], [5, 6], [7, 8], [9, 9]], "up": [6, 5, 4], "decoder": [[6, 6], [5, 5], [4, 3]]}
    smaller = UNet3d(2, widths=widths)
    torch.save(smaller.state_dict(), tmp_path / "smaller.pt")
    whole = (calibrated / collection.FOLDER / "localizer.packed").stat().st_size
    sizes = write_collection(str(calibrated), smaller=tmp_path / "smaller.pt")
    found = read_arrays(calibrated / collection.FOLDER / "localizer.packed")
    assert {name: array.shape for name, array in found.items()} == {
        name: tuple(tensor.shape) for name, tensor in smaller.state_dict().items()
    }
    np.testing.assert_array_equal(found["head.bias"], smaller.head.bias.detach().numpy())
    assert sizes["localizer"] != whole and sizes["mandible"] > 0
    # The network that the weights stand for is another: only calibration may take these files in.
    assert read_table(calibrated / collection.FOLDER) is None


@pytest.mark.parametrize("state", [UNet3d(5, 4).state_dict(), {"head.weight": torch.zeros(2, 4, 3, 3, 3)}])
def test_a_localizer_of_something_else_is_refused(calibrated: Path, tmp_path: Path, state: dict, capsys) -> None:
    torch.save(dict(state), tmp_path / "other.pt")
    before = file_sha256(calibrated / collection.FOLDER / "localizer.packed")
    command = ["compress", "collection", "--bundle", str(calibrated), "--smaller", str(tmp_path / "other.pt")]
    assert main(command) == 2
    error = capsys.readouterr().err
    assert error.startswith("oarseg: error: ") and "other.pt" in error and error.count("\n") == 1
    assert file_sha256(calibrated / collection.FOLDER / "localizer.packed") == before
