"""What the command line may change in a bundle's training: network, loss, statistics, epochs, precision, transforms."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import pytest
import torch

from oarseg.errors import ConfigError
from oarseg.networks import Standardize
from oarseg.training import read_state
from oarseg.training.statistics import save_statistics

pytestmark = pytest.mark.slow

LOCALIZER, ORGAN, BOTH = "hn_ct_localizer", "parotid_left_ct_segmentation", "hn_ct_two_stage"
UNCACHED = {f"{part}#dataset#num_workers": 0 for part in ("train", "validate")}


def networks(classes: int) -> dict[str, dict]:
    """MONAI's, by name: two with four halvings, one with three."""
    image = {"spatial_dims": 3, "in_channels": 1, "out_channels": classes}
    return {
        "UNet": image | {"_target_": "UNet", "channels": [4, 4, 4, 4, 4], "strides": [2, 2, 2, 2]},
        "DynUNet": image
        | {"_target_": "DynUNet", "kernel_size": [3] * 5, "strides": [1, 2, 2, 2, 2], "filters": [4] * 5}
        | {"upsample_kernel_size": [2] * 4},
        "SegResNet": image | {"_target_": "SegResNet", "init_filters": 8},
    }


@pytest.fixture
def training(small_root: Path, dataset_dir: Path, workflow, tmp_path: Path):
    """``training(bundle, **override)``: an initialized run of one step that validates."""

    def build(name: str, *configs: str, **override: object):
        own = {"dataset_dir": str(dataset_dir), "output_dir": str(tmp_path / "run"), "steps": 1, "batch_size": 1}
        own |= {"finetune": False} if name == BOTH else UNCACHED
        flow = workflow("train", small_root / name, "train.json", *configs, **own | override)
        flow.initialize()
        return flow

    return build


def metrics(flow) -> dict:
    return flow.parser.get_parsed_content("validate::evaluator").state.metrics


@pytest.mark.parametrize("network", ["UNet", "DynUNet", "SegResNet"])
@pytest.mark.parametrize(("bundle", "classes"), [(LOCALIZER, 9), (ORGAN, 2)])
def test_networks_of_monai_train_validate_and_segment(
    network: str, bundle: str, classes: int, training, small_root: Path, dataset_dir: Path, workflow, tmp_path: Path
) -> None:
    definition = networks(classes)[network]
    flow = training(bundle, network_def=definition)
    flow.run()
    assert 0 <= metrics(flow)["val_mean_dice"] <= 1
    (tmp_path / "images").mkdir()
    (tmp_path / "images/d.nii.gz").write_bytes((dataset_dir / "images/d.nii.gz").read_bytes())
    flow = workflow(
        "infer", small_root / bundle, "inference.json", dataset_dir=str(tmp_path / "images"), network_def=definition,
        output_dir=str(tmp_path / "out"), ckpt_path=str(tmp_path / "run/model.pt"),
    )  # fmt: skip
    flow.initialize()
    flow.run()
    assert nib.load(tmp_path / "out/d_seg.nii.gz").shape == nib.load(dataset_dir / "images/d.nii.gz").shape


def test_a_network_behind_the_normalising_layer(training, tmp_path: Path) -> None:
    save_statistics(tmp_path / "statistics.json", 0.25, 0.5, ORGAN, 10)
    standardize = {"_target_": "oarseg.networks.Standardize", "mean": 0.1, "std": 0.2}
    chain = {
        "net": networks(2)["UNet"],
        "layer": standardize,
        "network_def": "$torch.nn.Sequential(@layer, @net)",
        "statistics": str(tmp_path / "statistics.json"),
    }
    training(ORGAN, **chain).run()
    state = read_state(tmp_path / "run/model.pt")
    assert (state["0.mean"].item(), state["0.std"].item()) == (0.25, 0.5)


def cause(error: BaseException | None) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error


@pytest.mark.parametrize("bundle", [LOCALIZER, BOTH])
def test_a_loss_that_does_not_heed_partial_labels_is_refused(bundle: str, training) -> None:
    dice = {"_target_": "DiceCELoss", "softmax": True}
    flow = training(bundle, loss=dice)
    with pytest.raises(RuntimeError) as caught:
        flow.run()
    assert isinstance(cause(caught.value), ConfigError) and "DiceCELoss" in str(cause(caught.value))
    flow = training(bundle, **{"loss#losses#1": dice})
    with pytest.raises(RuntimeError) as caught:
        flow.run()
    assert isinstance(cause(caught.value), ConfigError) and "DiceCELoss" in str(cause(caught.value))


def test_the_same_loss_trains_where_every_organ_is_labelled(
    training, dataset_dir: Path, tmp_path: Path
) -> None:
    dice = {"_target_": "DiceCELoss", "softmax": True}
    training(ORGAN, loss=dice, val_interval=0).run()
    folder = tmp_path / "full"
    content = json.loads((dataset_dir / "dataset.json").read_text(encoding="utf-8"))
    content["training"] = content["training"][:1]
    folder.mkdir()
    for name in ("images", "labels", "silver"):
        (folder / name).mkdir()
        for file in (dataset_dir / name).iterdir():
            (folder / name / file.name).write_bytes(file.read_bytes())
    (folder / "dataset.json").write_text(json.dumps(content), encoding="utf-8")
    flow = training(LOCALIZER, loss=dice, val_interval=0, dataset_dir=str(folder), output_dir=str(tmp_path / "second"))
    flow.run()
    assert flow.trainer.state.output[0]["loss"] < 5


def test_statistics_are_measured_and_saved(training, tmp_path: Path, small_root: Path) -> None:
    before = {path: path.read_bytes() for path in (small_root / ORGAN).rglob("*") if path.is_file()}
    flow = training(ORGAN, statistics="dataset", val_interval=0)
    (layer,) = (m for m in flow.network_def.modules() if isinstance(m, Standardize))
    table = layer.mean.item()
    flow.run()
    saved = read_state(tmp_path / "run/model.pt")["standardize.mean"].item()
    assert 0 < saved < 1 and saved != pytest.approx(table)
    assert {path: path.read_bytes() for path in before} == before, "nothing is written into the bundle"


def test_epochs_win_over_steps(training) -> None:
    flow = training(ORGAN, epochs=2, steps=6000, val_interval=0)
    flow.run()
    assert flow.trainer.state.epoch == flow.trainer.state.max_epochs == 2


def test_a_short_run_validates_once(training) -> None:
    flow = training(LOCALIZER, val_interval=8)
    flow.run()
    assert 0 <= metrics(flow)["val_mean_dice"] <= 1


@pytest.mark.parametrize("bundle", [LOCALIZER, ORGAN, BOTH])
@pytest.mark.parametrize("option", ["amp", "train#trainer#amp"])
def test_amp_reaches_training_and_validation(
    option: str, bundle: str, training, workflow, small_root: Path, tmp_path: Path
) -> None:
    for amp in (True, False):
        flow = training(bundle, **{option: amp})
        found = (flow.parser.get_parsed_content(f"{part}::inferer") for part in ("train", "validate"))
        assert [getattr(inferer, "pass_once", inferer).amp for inferer in found] == [amp, amp]
        assert flow.trainer.scaler is None, "bfloat16 needs none, and MONAI's would compute in float16"
        if option == "amp":
            flow = workflow("infer", small_root / bundle, "inference.json", amp=amp, dataset_dir=str(tmp_path))
            assert flow.parser.get_parsed_content("inferer").amp is amp


@pytest.mark.parametrize("bundle", [LOCALIZER, ORGAN, BOTH])
def test_a_further_transform_is_validated_too(bundle: str, training) -> None:
    flow = training(bundle)
    chain = [*flow.parser["train#deterministic_transforms"]]
    after_scaling = 1 + [one["_target_"] for one in chain].index("ScaleIntensityRanged")
    chain.insert(after_scaling, {"_target_": "ScaleIntensityd", "keys": "image", "minv": 5, "maxv": 6})
    flow = training(bundle, **{"train#deterministic_transforms": chain})
    image = flow.parser.get_parsed_content("validate::dataset")[0]["image"]
    assert torch.as_tensor(image).max() > 4
