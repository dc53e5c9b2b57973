"""Random transforms and training where the network computes: on a CPU, and on CUDA where there is one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser, ConfigWorkflow
from monai.transforms import Flipd, RandAffined
from monai.utils import set_determinism

from oarseg.bundles import FOLDER
from oarseg.bundles.render import sync
from oarseg.networks.partial_labels import UNLABELLED
from oarseg.sites import load_site
from oarseg.training import AugmentOnDevice, quick_convolutions, read_state

CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
DEVICES = [torch.device("cpu"), pytest.param(torch.device("cuda"), marks=CUDA)]


@pytest.fixture(autouse=True)
def _settings_as_before():
    before = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    yield
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = before


def batch() -> dict[str, torch.Tensor]:
    """Two unlike samples whose label marks the brighter half of the image."""
    image = torch.arange(2 * 4 * 6 * 8, dtype=torch.float32).reshape(2, 1, 4, 6, 8)
    return {"image": image, "label": (image > image.mean()).to(torch.uint8)}


@pytest.mark.parametrize("device", DEVICES)
def test_without_transforms_the_batch_only_moves(device: torch.device) -> None:
    given = batch()
    image, label = AugmentOnDevice()(given, device)
    assert image.device.type == label.device.type == device.type
    assert torch.equal(image.cpu(), given["image"]) and torch.equal(label.cpu(), given["label"])


@pytest.mark.parametrize("device", DEVICES)
def test_image_and_label_move_together(device: torch.device) -> None:
    given = batch()
    image, label = AugmentOnDevice([Flipd(["image", "label"], spatial_axis=2)])(given, device)
    assert torch.equal(image.cpu(), given["image"].flip(-1)) and torch.equal(label.cpu(), given["label"].flip(-1))


@pytest.mark.parametrize("device", DEVICES)
def test_each_sample_draws_its_own_and_a_seed_repeats_them(device: torch.device) -> None:
    one = torch.rand(1, 1, 12, 12, 12)
    same = {"image": one.repeat(2, 1, 1, 1, 1), "label": (one > 0.5).float().repeat(2, 1, 1, 1, 1)}

    def drawn() -> torch.Tensor:
        set_determinism(seed=7)
        keys = ["image", "label"]
        affine = RandAffined(keys, prob=1.0, rotate_range=[0.5] * 3, mode=["bilinear", "nearest"])
        return AugmentOnDevice([affine])(same, device)[0]

    first, again = drawn(), drawn()
    assert not torch.equal(first[0], first[1])
    torch.testing.assert_close(first, again)


def test_quick_convolutions_are_asked_for_on_cuda_alone() -> None:
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    quick_convolutions(torch.device("cpu"))
    assert torch.backends.cudnn.deterministic and not torch.backends.cudnn.benchmark
    quick_convolutions(torch.device("cuda", 0))
    assert torch.backends.cudnn.benchmark and not torch.backends.cudnn.deterministic


def split_batch(name: str, dataset_dir: Path, host: int | None) -> tuple[torch.Tensor, torch.Tensor]:
    """What a bundle's trainer gives its network, with ``host`` random transforms left to the loader; None for all."""
    root = FOLDER / name
    parser = ConfigParser()
    parser.read_config(str(root / "configs" / "train.json"))
    parser.read_meta(str(root / "configs" / "metadata.json"))
    own = {"bundle_root": str(root), "dataset_dir": str(dataset_dir), "device": torch.device("cpu")}
    parser.update(own | {"crop": [32, 32, 32], "train#dataset#num_workers": 0, "intensity_prob": 1.0})
    if host is not None:
        parser.update({"train#on_host": host})
    set_determinism(seed=3)
    data = next(iter(parser.get_parsed_content("train#dataloader")))
    return parser.get_parsed_content("train#prepare_batch")(data, torch.device("cpu"))


@pytest.mark.parametrize(("name", "host"), [("parotid_left_ct_segmentation", 4), ("hn_ct_localizer", 6)])
def test_loader_and_trainer_share_the_transforms_without_loss(name: str, host: int, dataset_dir: Path) -> None:
    whole, shared = (split_batch(name, dataset_dir, n) for n in (None, host))
    for image, label in (whole, shared):
        assert image.dtype == torch.float32 and 0 < image.mean() < 1 and image.std() > 0.05
        # One-hot over what is labelled, whatever the affine did.
        known = label.float().masked_fill(label == UNLABELLED, 0)
        assert torch.equal(known.sum(dim=1), torch.ones_like(known[:, 0]))
        assert known[:, 1:].any()
    assert whole[0].shape == shared[0].shape and whole[1].shape == shared[1].shape


def host_share_of(root: Path, device: torch.device | str) -> tuple[list[str], int]:
    """The names of a bundle's random transforms, and how many of them the loader applies."""
    parser = ConfigParser()
    parser.read_config(str(root / "configs" / "train.json"))
    parser.update({"bundle_root": str(root), "device": device})
    for transform in parser["train"]["random_transforms"]:
        # It would look for the device, which need not be here.
        transform.pop("device", None)
    targets = [t["_target_"].rpartition(".")[2] for t in parser["train"]["random_transforms"]]
    return targets, parser.get_parsed_content("train#on_host")


@pytest.mark.parametrize("device", [torch.device("cuda"), "cuda:1"])
def test_what_cuda_leaves_to_the_loader_is_what_needs_the_file(device: torch.device | str, tmp_path: Path) -> None:
    """All that moves, blurs or brightens is on the device's side, also where a site mirrors nothing."""
    sync(load_site("abdomen"), tmp_path)
    roots = [FOLDER / "parotid_left_ct_segmentation", FOLDER / "hn_ct_localizer", *tmp_path.glob("*_ct_localizer")]
    assert len(roots) == 3
    for root in roots:
        targets, first = host_share_of(root, device)
        moved = {"RandAffined", "RandAdjustContrastd", "RandGaussianSmoothd", "RandGaussianSharpend"}
        assert moved <= set(targets[first:]) and not moved & set(targets[:first])
        assert {"SelectItemsd", "EnsureTyped"} <= set(targets[:first])


@pytest.mark.parametrize("device", [torch.device("cpu"), "cpu"])
def test_elsewhere_the_loader_applies_all(device: torch.device | str) -> None:
    targets, first = host_share_of(FOLDER / "parotid_left_ct_segmentation", device)
    assert first == len(targets)


@CUDA
@pytest.mark.parametrize("name", ["hn_ct_localizer", "eye_left_ct_segmentation", "hn_ct_two_stage"])
def test_a_bundle_trains_on_cuda(name: str, dataset_dir: Path, tmp_path: Path) -> None:
    root = FOLDER / name
    more = {} if name == "hn_ct_two_stage" else {"crop": [32, 32, 32], "val_interval": 1}
    workflow = ConfigWorkflow(
        config_file=str(root / "configs" / "train.json"), meta_file=str(root / "configs" / "metadata.json"),
        logging_file=False, workflow_type="train", bundle_root=str(root), dataset_dir=str(dataset_dir),
        output_dir=str(tmp_path), steps=2, batch_size=1, num_workers=1, finetune=False, **more,
    )  # fmt: skip
    workflow.initialize()
    workflow.run()
    workflow.finalize()
    state = read_state(tmp_path / "model.pt")
    assert state and all(torch.isfinite(value).all() for value in state.values())
