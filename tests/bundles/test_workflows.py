"""Every bundle trains, resumes, evaluates and segments, run from a directory that is not its own."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = tmp_path / "elsewhere"
    work.mkdir()
    monkeypatch.chdir(work)


def quick(output: Path, dataset: Path, **more: object) -> dict:
    """Overrides that make a training run short."""
    return {
        "dataset_dir": str(dataset),
        "output_dir": str(output),
        "steps": 1,
        "batch_size": 1,
        "val_interval": 1000,
        "train#dataset#num_workers": 0,
        "validate#dataset#num_workers": 0,
        **more,
    }


def without_weights(name: str) -> dict:
    """Training of the two-stage bundle fine-tunes its weights by default; the others begin anew."""
    return {"finetune": False} if name == "hn_ct_two_stage" else {}


def test_properties_that_monai_asks_for(name: str, small_root: Path, dataset_dir: Path, workflow, tmp_path: Path) -> None:
    where = {"dataset_dir": str(dataset_dir), "output_dir": str(tmp_path / "out")}
    train = workflow("train", small_root / name, "train.json", **quick(tmp_path / "out", dataset_dir))
    train.initialize()
    assert train.check_properties() == []
    assert train.trainer.state.max_epochs is None or train.trainer.state.max_epochs >= 1
    infer = workflow("infer", small_root / name, "inference.json", **where | {"dataset_dir": str(dataset_dir / "images")})
    infer.initialize()
    assert infer.check_properties() == []
    overlaid = workflow("train", small_root / name, "train.json", "evaluate.json", **where)
    overlaid.initialize()
    # MetricsSaver stands in place of some handlers, but what the platform asks of validation is all there.
    assert overlaid.check_properties() == []


def test_trains_one_step_and_resumes(name: str, small_root: Path, dataset_dir: Path, workflow, tmp_path: Path) -> None:
    output = tmp_path / "run"
    losses: list[float] = []

    def train(steps: int):
        override = quick(output, dataset_dir, steps=steps) | without_weights(name)
        flow = workflow("train", small_root / name, "train.json", **override)
        flow.initialize()
        from monai.engines.utils import IterationEvents

        flow.trainer.add_event_handler(
            IterationEvents.LOSS_COMPLETED, lambda engine: losses.append(float(engine.state.output["loss"]))
        )
        flow.run()
        flow.finalize()
        return flow

    first = train(1)
    length = len(first.train_dataset)
    assert first.trainer.state.epoch == 1
    assert len(losses) == length
    final = torch.load(output / "model.pt", map_location="cpu", weights_only=True)["model"]
    assert all(torch.isfinite(value.float()).all() for value in final.values())
    before = {key: value.clone() for key, value in final.items()}
    assert len(list(output.glob("train_*.pt"))) == 1
    # The second run goes on where the first one stopped, and does only what is left.
    second = train(2 * length)
    assert second.trainer.state.epoch == 2
    assert second.trainer.state.iteration == 2 * length
    assert len(losses) == 2 * length
    assert all(math.isfinite(loss) for loss in losses)
    after = torch.load(output / "model.pt", map_location="cpu", weights_only=True)["model"]
    moved = [key for key in before if after[key].is_floating_point() and not torch.equal(before[key], after[key])]
    assert moved
    # A third one has nothing left to do, and does not train on.
    assert train(2 * length).trainer.state.epoch == 2
    assert len(losses) == 2 * length


def test_training_validates(small_root: Path, dataset_dir: Path, workflow, tmp_path: Path) -> None:
    for name in ("hn_ct_localizer", "parotid_left_ct_segmentation", "hn_ct_two_stage"):
        override = quick(tmp_path / name, dataset_dir, val_interval=1) | without_weights(name)
        flow = workflow("train", small_root / name, "train.json", **override)
        flow.initialize()
        flow.run()
        metrics = flow.parser.get_parsed_content("validate::evaluator").state.metrics
        assert 0 <= metrics["val_mean_dice"] <= 1, name


def organ_value(name: str, specs: dict) -> int:
    """Label value that the narrow weights answer with."""
    return specs[name].organ.value if specs[name].organ else 4


def root_options(name: str, specs: dict, localizer_of) -> dict:
    """An organ's bundle needs a localizer; give it one that finds this organ."""
    return {"localizer_root": str(localizer_of(specs[name].organ.value))} if specs[name].organ else {}


def test_evaluates_on_the_original_grid(
    name: str, small_root: Path, dataset_dir: Path, workflow, tmp_path: Path, specs: dict, localizer_of
) -> None:
    override = {"dataset_dir": str(dataset_dir), "output_dir": str(tmp_path / "scores")}
    override |= root_options(name, specs, localizer_of)
    flow = workflow("train", small_root / name, "train.json", "evaluate.json", **override)
    flow.initialize()
    flow.parser.get_parsed_content("evaluating")
    with open(tmp_path / "scores" / "metrics.csv", encoding="utf-8") as file:
        found = {row[0]: float(row[1]) for row in csv.reader(file, delimiter="\t") if len(row) == 2}
    assert "val_mean_dice" in found
    organ = specs[name].site.organs[organ_value(name, specs) - 1].key
    # All of the body, or of the organ's box, is taken for the organ: a poor score, but a score.
    scores = {key: value for key, value in found.items() if organ in key}
    assert scores and all(0 < value < 0.5 for value in scores.values()), found
    assert (tmp_path / "scores" / "val_dice_raw.csv").is_file()


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory, phantom) -> Path:
    """The phantom as LPS, as RAS, and with permuted and flipped axes, each with its own origin."""
    folder = tmp_path_factory.mktemp("images")
    kinds = {
        "lps": (np.diag([-3.0, -3, 3]), (64, 64, 56)),
        "ras": (np.diag([3.0, 3, 3]), (64, 64, 56)),
        "ipr": (np.array([[0, 0, 3.0], [0, -3, 0], [-3, 0, 0]]), (56, 64, 64)),
    }
    for name, (matrix, shape) in kinds.items():
        affine = phantom.centred_affine(matrix, shape)
        nib.save(nib.Nifti1Image(phantom.draw(shape, affine)[0], affine), folder / f"{name}.nii.gz")
    return folder


def test_segments_in_any_orientation(
    name: str, small_root: Path, images: Path, workflow, tmp_path: Path, specs: dict, localizer_of
) -> None:
    override = {"dataset_dir": str(images), "output_dir": str(tmp_path / "out")}
    override |= root_options(name, specs, localizer_of)
    flow = workflow("infer", small_root / name, "inference.json", **override)
    flow.initialize()
    flow.run()
    flow.finalize()
    value, in_world = organ_value(name, specs), []
    for source in sorted(images.iterdir()):
        image = nib.load(source)
        result = nib.load(tmp_path / "out" / source.name.replace(".nii", "_seg.nii"))
        assert result.shape == image.shape
        np.testing.assert_allclose(result.affine, image.affine, atol=1e-4)
        assert result.get_data_dtype() == np.uint8
        label = np.asarray(result.dataobj)
        assert set(np.unique(label)) == {0, value}
        middle = np.argwhere(label == value).mean(axis=0)
        in_world.append(image.affine[:3, :3] @ middle + image.affine[:3, 3])
    # The same patient: what was found lies at the same place in the world.
    np.testing.assert_allclose(in_world, np.broadcast_to(in_world[0], (3, 3)), atol=1.5)


def test_other_weights_by_ckpt_path(small_root: Path, images: Path, workflow, tmp_path: Path) -> None:
    """``ckpt_path`` takes a training checkpoint, which no checksum names."""
    state = torch.load(small_root / "hn_ct_localizer/models/model.pt", weights_only=True)
    state["head.bias"] = state["head.bias"].roll(3)
    torch.save({"model": state}, tmp_path / "trained.pt")
    override = {"dataset_dir": str(images), "output_dir": str(tmp_path / "out"), "ckpt_path": str(tmp_path / "trained.pt")}
    flow = workflow("infer", small_root / "hn_ct_localizer", "inference.json", **override)
    flow.initialize()
    flow.run()
    assert set(np.unique(nib.load(tmp_path / "out/lps_seg.nii.gz").dataobj)) == {0, 7}


def test_organ_without_a_localizer_says_so(small_root: Path, images: Path, workflow, tmp_path: Path) -> None:
    flow = workflow(
        "infer", small_root / "eye_left_ct_segmentation", "inference.json",
        dataset_dir=str(images), output_dir=str(tmp_path / "out"), localizer_root=str(tmp_path / "nowhere"),
    )  # fmt: skip
    with pytest.raises(Exception, match="no localizer bundle at .*nowhere"):
        flow.initialize()
        flow.run()
