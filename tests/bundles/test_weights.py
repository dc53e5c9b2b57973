"""Weights as they are shipped, and weights that must be refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from oarseg.bundles.spec import bundle_specs
from oarseg.bundles.weights import install
from oarseg.errors import ConfigError, WeightsError
from oarseg.networks import TwoStageNet
from oarseg.sites import load_site
from oarseg.training import LoadWeights, load_weights, verified
from oarseg.training.weights import FILE, sha256

LIMIT = 25_000_000


def test_shipped_weights_are_small_plain_and_named_by_the_metadata(name: str, published: Path) -> None:
    path = published / name / FILE
    assert path.stat().st_size < LIMIT
    state = torch.load(path, weights_only=True)
    assert all(isinstance(value, torch.Tensor) and torch.isfinite(value.float()).all() for value in state.values())
    meta = json.loads((published / name / "configs/metadata.json").read_text(encoding="utf-8"))
    assert meta.get("model_sha256", meta["weights_sha256"]) == sha256(path)
    assert verified(published / name) == (path, meta["weights_sha256"])
    # Several .pt files would all be offered to a MONAI Label client.
    assert [p.name for p in path.parent.glob("*.pt")] == ["model.pt"]


def test_shipped_weights_fit_the_network(name: str, shipped: Path, specs: dict) -> None:
    both = TwoStageNet.for_site(load_site(str(shipped / name / "configs/site.json")))
    spec = specs[name]
    network = {"localizer": both.localizer, "two_stage": both}.get(spec.kind) or both.organs[spec.organ.key]
    load_weights(network, shipped / name / FILE)


def test_two_stage_weights_are_the_other_nine(published: Path, shipped: Path, specs: dict) -> None:
    whole = torch.load(published / "hn_ct_two_stage" / FILE, weights_only=True)
    count = 0
    for name, spec in specs.items():
        if spec.kind == "two_stage":
            continue
        prefix = "localizer" if spec.kind == "localizer" else f"organs.{spec.organ.key}"
        for key, value in torch.load(shipped / name / FILE, weights_only=True).items():
            assert torch.equal(whole[f"{prefix}.{key}"], value), f"{prefix}.{key}"
            count += 1
    assert count == len(whole)


@pytest.fixture
def copy(small_root: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small_root / "eye_left_ct_segmentation", tmp_path / "eye_left_ct_segmentation"))


def network_of(folder: Path):
    return TwoStageNet.for_site(load_site(str(folder / "configs/site.json"))).organs["eye_left"]


def test_good_weights_load(copy: Path) -> None:
    network = network_of(copy)
    LoadWeights(str(copy), str(copy / FILE), network)()
    assert network.head.bias.tolist() == [0, 4]


def test_one_flipped_byte_is_refused(copy: Path) -> None:
    content = bytearray((copy / FILE).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / FILE).write_bytes(content)
    with pytest.raises(WeightsError, match="SHA-256"):
        verified(copy)
    with pytest.raises(WeightsError, match="SHA-256"):
        LoadWeights(str(copy), str(copy / FILE), network_of(copy))()


def test_missing_weights_say_where_they_should_be(copy: Path) -> None:
    (copy / FILE).unlink()
    for load in (lambda: verified(copy), lambda: load_weights(network_of(copy), copy / FILE)):
        with pytest.raises(WeightsError, match=r"weights missing: .*model\.pt"):
            load()


def test_metadata_without_a_checksum(copy: Path) -> None:
    (copy / "configs/metadata.json").write_text("{}", encoding="utf-8")
    with pytest.raises(WeightsError, match="weights_sha256"):
        verified(copy)


def test_truncated_file(copy: Path, tmp_path: Path) -> None:
    (tmp_path / "cut.pt").write_bytes((copy / FILE).read_bytes()[:5000])
    with pytest.raises(WeightsError, match="cut.pt is damaged"):
        load_weights(network_of(copy), tmp_path / "cut.pt")


def test_pickled_module_is_not_unpickled(copy: Path, tmp_path: Path) -> None:
    torch.save(network_of(copy), tmp_path / "module.pt")
    with pytest.raises(WeightsError):
        load_weights(network_of(copy), tmp_path / "module.pt")


@pytest.mark.parametrize("content", [[1, 2], {}, {"a": 1}, {"model": {"a": "text"}}, torch.zeros(3)])
def test_no_state_dict(content: object, copy: Path, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "odd.pt")
    with pytest.raises(WeightsError, match="state dict"):
        load_weights(network_of(copy), tmp_path / "odd.pt")


def test_another_networks_weights(copy: Path, small_root: Path) -> None:
    with pytest.raises(WeightsError, match="another network: .*head"):
        load_weights(network_of(copy), small_root / "hn_ct_localizer" / FILE)


def test_install_refuses_weights_of_another_network(copy: Path, specs: dict) -> None:
    before = verified(copy)[1]
    with pytest.raises(WeightsError):
        # Narrow weights do not fit the site's own widths.
        install(specs["eye_left_ct_segmentation"], copy.parent, [copy / FILE])
    with pytest.raises(ConfigError, match="checkpoint is needed"):
        install(specs["eye_left_ct_segmentation"], copy.parent)
    assert sha256(copy / FILE) == before


def test_failed_install_leaves_the_old_weights(copy: Path, small_root: Path, specs: dict) -> None:
    before = verified(copy)[1]
    with pytest.raises(WeightsError):
        install(specs["eye_left_ct_segmentation"], copy.parent, [small_root / "hn_ct_localizer" / FILE])
    assert sha256(copy / FILE) == before


def test_install_mirrored(tmp_path: Path, specs: dict) -> None:
    network = TwoStageNet.for_site(load_site()).organs["eye_left"]
    torch.save({"network": network.state_dict()}, tmp_path / "left.pt")
    install(specs["eye_left_ct_segmentation"], tmp_path, [tmp_path / "left.pt"])
    install(specs["eye_right_ct_segmentation"], tmp_path, [tmp_path / "left.pt"], mirror=True)
    left = torch.load(tmp_path / "eye_left_ct_segmentation" / FILE, weights_only=True)
    right = torch.load(tmp_path / "eye_right_ct_segmentation" / FILE, weights_only=True)
    kernel = "encoder.1.0.weight"
    assert torch.equal(right[kernel], left[kernel].flip(-1))
    assert not torch.equal(right[kernel], left[kernel])
    assert right[kernel].dtype == torch.float16
    assert left["encoder.0.1.running_var"].dtype == torch.float32


def test_only_a_network_with_another_side_is_mirrored(tmp_path):
    spec = next(s for s in bundle_specs(load_site()) if s.name == "hn_ct_localizer")
    with pytest.raises(ConfigError, match="another side"):
        install(spec, tmp_path, [tmp_path / "any.pt"], mirror=True)


def test_install_takes_the_mean_of_several(tmp_path: Path, specs: dict) -> None:
    spec = specs["eye_left_ct_segmentation"]
    states = []
    for seed, batches in ((1, 10), (2, 30)):
        torch.manual_seed(seed)
        state = TwoStageNet.for_site(load_site()).organs["eye_left"].state_dict()
        state["encoder.0.1.num_batches_tracked"].fill_(batches)
        torch.save(state, tmp_path / f"{seed}.pt")
        states.append(state)
    install(spec, tmp_path, [tmp_path / "1.pt", tmp_path / "2.pt"])
    mean = torch.load(tmp_path / spec.name / FILE, weights_only=True)
    kernel = "encoder.1.0.weight"
    assert torch.allclose(mean[kernel].float(), (states[0][kernel] + states[1][kernel]) / 2, atol=1e-3)
    assert mean["encoder.0.1.num_batches_tracked"] == 30


def test_install_takes_no_mean_with_another_network(tmp_path: Path, small_root: Path, specs: dict) -> None:
    torch.save(TwoStageNet.for_site(load_site()).organs["eye_left"].state_dict(), tmp_path / "good.pt")
    other = small_root / "hn_ct_localizer" / FILE
    with pytest.raises(WeightsError, match="another network"):
        install(specs["eye_left_ct_segmentation"], tmp_path, [tmp_path / "good.pt", other])
    assert not (tmp_path / "eye_left_ct_segmentation").exists()
