"""Calibration: what the networks are given is recorded, and the ranges fit the files that lie in the bundle."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from oarseg.bundles.render import sync
from oarseg.compression import calibrate, read_packed
from oarseg.errors import ConfigError, OarsegError
from oarseg.geometry.volume import Volume
from oarseg.inference import Pipeline
from oarseg.inference.engines import stored
from oarseg.inference.engines.graph import last, names
from oarseg.inference.engines.stored import read_table
from oarseg.inference.localize import Located, locate
from oarseg.networks import TwoStageNet
from oarseg.requires import installed
from oarseg.sites import Site, load_site
from oarseg.training.weights import save_weights
from oarseg.transforms import Box

pytestmark = pytest.mark.slow

if not installed("openvino"):
    pytest.skip("openvino is not installed", allow_module_level=True)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A two-stage bundle of a small site, with untrained networks."""
    folder = tmp_path_factory.mktemp("bundles")
    sync(load_site(), folder)
    root = folder / "hn_ct_two_stage"
    path = root / "configs" / "site.json"
    table = json.loads(path.read_text())
    table["localizer"]["base_width"] = 4
    table["organs"] = [row for row in table["organs"] if row["key"] in ("brainstem", "mandible")]
    for value, row in enumerate(table["organs"], 1):
        row.update(value=value, grid=[16, 16, 16], field_mm=[32, 32, 32], base_width=4)
    path.write_text(json.dumps(table))
    site = load_site(str(path))
    torch.manual_seed(0)
    checksum = save_weights(TwoStageNet.for_site(site).state_dict(), root / "models" / "model.pt")
    meta = root / "configs" / "metadata.json"
    meta.write_text(json.dumps(json.loads(meta.read_text()) | {"weights_sha256": checksum}))
    return root


def everywhere(image: Volume, network: Callable, site: Site) -> dict[str, Located]:
    """Stage 1 that runs its network and finds all organs, which an untrained one might not."""
    locate(image, network, site)
    box = Box((40.0, 40.0, 40.0), (90.0, 95.0, 100.0))
    return {organ.key: Located(organ, np.ones((1, 1, 1)), image.grid, box) for organ in site.organs}


def test_recorders_keep_what_they_are_given() -> None:
    recorder = calibrate.Recorder(lambda image: image + 1)
    image = np.zeros((1, 1, 4, 4, 4), np.float32)
    assert (recorder(image) == 1).all()
    image += 5
    assert (recorder.inputs[0] == 0).all()


def test_cases_are_spread_over_the_list() -> None:
    assert calibrate.chosen(list("abcdefgh"), 4) == list("aceg")
    assert calibrate.chosen(list("abc"), 9) == list("abc") and calibrate.chosen(list("abc"), 0) == ["a"]


def test_a_network_without_inputs_is_named(bundle: Path, dataset_dir: Path, monkeypatch, tmp_path: Path) -> None:
    pytest.importorskip("nncf", reason="nncf is not installed")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("oarseg.inference.two_stage.locate", lambda *args: locate(*args) and {})
    with pytest.raises(ConfigError, match="brainstem was found in none of the cases"):
        calibrate.calibrate(dataset_dir, 1, str(bundle))
    assert not (bundle / "models" / "compressed" / "ranges.json").exists()


def test_a_bundle_is_calibrated(bundle: Path, dataset_dir: Path, monkeypatch, tmp_path: Path) -> None:
    pytest.importorskip("nncf", reason="nncf is not installed")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("oarseg.inference.two_stage.locate", everywhere)
    found = calibrate.calibrate(dataset_dir, 2, str(bundle))
    assert found == bundle / "models" / "compressed"
    pipeline = Pipeline(bundle, "cpu", engine=None)
    table = read_table(found)
    assert table.model_sha256 == pipeline.weights["sha256"]
    assert set(table.rows) == {"localizer", "brainstem", "mandible"}
    for row in table.rows.values():
        row.check()
        assert list(row.ranges) == names(3) + ([last(3)] if row.path.stem == "localizer" else [])
        assert all(low <= 0 < high for low, high in row.ranges.values())
    # Without packed files of its own, the bundle gets the very weights of model.pt.
    state = read_packed(found / "mandible.packed")
    wanted = pipeline.network.organs["mandible"].state_dict()
    assert all(torch.equal(state[key].float(), value.float()) for key, value in wanted.items())
    # And they are what is run.
    monkeypatch.setattr(stored, "has_int8", lambda: True)
    quick = Pipeline(bundle, "cpu", engine="openvino")
    assert quick.engine.precision == "int8"
    image = np.random.default_rng(0).random((1, 1, 16, 16, 16), dtype=np.float32)
    exact = pipeline.networks["mandible"](image)
    assert np.abs(quick.networks["mandible"](image) - exact).mean() < 0.1 * exact.std()


def test_files_of_an_earlier_model_are_refused(bundle: Path, dataset_dir: Path, tmp_path: Path) -> None:
    """Else they would be run in the new one's place."""
    path = tmp_path / "localizer.packed"
    path.write_bytes(b"weights")
    row = {"sha256": calibrate.sha256(path), "mean": 0, "std": 1, "ranges": dict.fromkeys(names(3), [0, 1])}
    content = {"schema": 1, "model_sha256": "earlier", "networks": {"localizer": row}}
    (tmp_path / "ranges.json").write_text(json.dumps(content))
    with pytest.raises(ConfigError, match="localizer.packed belongs to earlier weights"):
        calibrate.refuse_stale(tmp_path, "later")
    calibrate.refuse_stale(tmp_path, "earlier")
    path.write_bytes(b"weights compressed anew")
    calibrate.refuse_stale(tmp_path, "later")
    path.unlink()
    calibrate.refuse_stale(tmp_path, "later")


def test_a_bundle_with_a_method_of_its_own_is_refused(bundle: Path, dataset_dir: Path, monkeypatch) -> None:
    pytest.importorskip("nncf", reason="nncf is not installed")
    config = bundle / "configs" / "inference.json"
    before = config.read_text()
    content = json.loads(before)
    content["preprocessing"]["transforms"][-1]["a_max"] = 700
    config.write_text(json.dumps(content))
    try:
        with pytest.raises(ConfigError, match="preprocessing.*a_max"):
            calibrate.calibrate(dataset_dir, 1, str(bundle))
    finally:
        config.write_text(before)
    with pytest.raises(OarsegError, match="no data"):
        calibrate.calibrate(bundle / "no data", 1, str(bundle))
