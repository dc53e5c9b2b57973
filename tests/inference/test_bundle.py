"""Contours are what the bundle's config says: quickly where it says what all do, through MONAI where it does not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from oarseg.bundles.render import sync
from oarseg.errors import ConfigError, WeightsError
from oarseg.inference import Pipeline
from oarseg.inference.bundle import CONFIG, METADATA, read_bundle
from oarseg.inference.configured import Configured
from oarseg.inference.modules import array_networks, load_modules
from oarseg.networks import TwoStageNet
from oarseg.sites import load_site
from oarseg.training.weights import FILE, save_weights

SITE = load_site()
NAME = "hn_ct_two_stage"


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All bundles without weights."""
    root = tmp_path_factory.mktemp("bundles")
    sync(SITE, root)
    return root / NAME


@pytest.fixture
def bundle(rendered: Path, tmp_path: Path) -> Callable[..., Path]:
    """A two-stage bundle with narrow networks; ``bundle(change)``: with its config changed."""

    def make(change: Callable[[dict], object] = lambda config: None) -> Path:
        folder = tmp_path / NAME
        for path in (rendered / "configs").iterdir():
            (folder / "configs").mkdir(parents=True, exist_ok=True)
            (folder / "configs" / path.name).write_bytes(path.read_bytes())
        site = json.loads((folder / "configs/site.json").read_text())
        for row in (site["localizer"], *site["organs"]):
            row["base_width"] = 2
        (folder / "configs/site.json").write_text(json.dumps(site))
        torch.manual_seed(0)
        network = TwoStageNet.for_site(load_site(str(folder / "configs/site.json")))
        meta = json.loads((folder / METADATA).read_text())
        meta["weights_sha256"] = save_weights(network.state_dict(), folder / FILE)
        (folder / METADATA).write_text(json.dumps(meta))
        config = json.loads((folder / CONFIG).read_text())
        change(config)
        (folder / CONFIG).write_text(json.dumps(config))
        return folder

    return make


def knowing(phantom) -> TwoStageNet:
    """Stand-ins that know the phantom."""
    second = {o.key: phantom.ByIntensity([o.value]) for o in SITE.organs}
    return TwoStageNet(phantom.ByIntensity([o.value for o in SITE.organs]), second)


def parts(network: TwoStageNet) -> dict:
    return array_networks(network.localizer, dict(network.organs.items()), "cpu")


@pytest.mark.parametrize("direction", [(-1, -1, 1), (1, 1, 1)])
def test_the_quick_path_is_the_configs_path(direction: tuple, bundle, phantom) -> None:
    """The same labels voxel by voxel, the same boxes, as by MONAI's transforms and the bundle's inferer."""
    folder = bundle()
    pipeline = Pipeline(folder, "cpu", engine=None)
    assert pipeline.bundle.stock_steps and pipeline.bundle.stock_network
    network = knowing(phantom)
    pipeline.networks = parts(network)
    image, truth = phantom.tensors((64, 66, 56), phantom.centred_affine(np.diag(direction) * 3.0, (64, 66, 56)))
    found = pipeline.segment(image)
    label, result, _ = pipeline.configured.segment(image.numpy()[0], np.asarray(image.affine), network)
    np.testing.assert_array_equal(found.label, label)
    assert set(np.unique(label)) == set(range(9)) and list(result.boxes) == list(found.boxes)
    assert phantom.dice(pipeline.stage_one(image) > 0, truth.numpy()[0] > 0) > 0.9


def test_networks_are_those_of_the_config(bundle) -> None:
    folder = bundle()
    quick, slow = load_modules(read_bundle(folder), "cpu"), Configured(read_bundle(folder), "cpu").network
    image = torch.rand(1, 1, 16, 16, 16)
    with torch.no_grad():
        for organ in (None, "brainstem", "parotid_right"):
            torch.testing.assert_close(quick(image, organ), slow(image, organ))


def scale_less(config: dict) -> None:
    config["preprocessing"]["transforms"][4]["a_max"] = 3000


@pytest.mark.parametrize(
    "change",
    [
        lambda config: config.update(organs=["mandible"]),
        lambda config: config["inferer"].update(organs=["mandible"]),
    ],
)
def test_a_config_with_its_own_steps_is_followed(change, bundle, phantom) -> None:
    pipeline = Pipeline(bundle(change), "cpu", engine=None)
    assert not pipeline.bundle.stock_steps
    pipeline._ready = knowing(phantom)
    image, _ = phantom.tensors((64, 66, 56), phantom.lps_affine((3.0, 3.0, 3.0), (64, 66, 56)))
    assert set(np.unique(pipeline.segment(image).label)) == {0, SITE.values["mandible"]}


def test_own_preprocessing_is_followed(bundle, phantom) -> None:
    """Scaled in another way, the stand-ins, which know organs by their intensity, see something else."""
    image, _ = phantom.tensors((64, 66, 56), phantom.lps_affine((3.0, 3.0, 3.0), (64, 66, 56)))
    pipeline = Pipeline(bundle(scale_less), "cpu", engine="torch")
    assert not pipeline.bundle.stock_steps
    pipeline._ready = knowing(phantom)
    assert "mandible" in pipeline.segment(image).missing


def test_an_own_network_is_built_by_the_config(bundle) -> None:
    folder = bundle(lambda config: config.update(network="$@network_def.to(@device)"))
    read = read_bundle(folder)
    assert read.stock_steps and not read.stock_network
    assert set(Pipeline(folder, "cpu").networks) == {"localizer", *SITE.values}


def test_what_is_about_files_changes_nothing(bundle) -> None:
    read = read_bundle(bundle(lambda config: config.update(output_dir="elsewhere", postprocessing={})))
    assert read.stock_steps and read.stock_network


def test_the_shipped_bundle_needs_no_config_parser() -> None:
    from oarseg.bundles import FOLDER

    if not (FOLDER / NAME / FILE).is_file():
        pytest.skip("hn_ct_two_stage has no weights yet")
    assert read_bundle().stock_steps


@pytest.mark.parametrize("content", ["{", "[]", '"text"', "[" * 100_000])
@pytest.mark.parametrize("file", [CONFIG, METADATA])
def test_damaged_json_is_told(file: str, content: str, bundle) -> None:
    folder = bundle()
    (folder / file).write_text(content)
    with pytest.raises(ConfigError, match=f"not a whole bundle: {Path(file).name}"):
        read_bundle(folder)


def test_no_bundle_no_weights_other_weights(bundle, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not a bundle: it has no configs/inference.json"):
        read_bundle(tmp_path / "none")
    folder = bundle()
    (folder / FILE).write_bytes(b"other")
    with pytest.raises(WeightsError, match="has SHA-256"):
        read_bundle(folder)
    (folder / FILE).unlink()
    with pytest.raises(WeightsError, match="weights missing"):
        read_bundle(folder)


def test_a_config_that_is_no_two_stage_bundle(bundle) -> None:
    def single(config: dict) -> None:
        config["inferer"] = {"_target_": "SimpleInferer"}

    with pytest.raises(ConfigError, match="is no two-stage bundle"):
        Pipeline(bundle(single), "cpu")
