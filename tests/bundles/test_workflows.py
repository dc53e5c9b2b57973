"""Every bundle trains, resumes, evaluates and segments, run from a directory that is not its own."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.engines.utils import IterationEvents

from oarseg.errors import WeightsError
from oarseg.training import read_state

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = tmp_path / "elsewhere"
    work.mkdir()
    monkeypatch.chdir(work)


def quick(name: str, output: Path, dataset: Path, **more: object) -> dict:
    """Overrides that make a training run short."""
    override = {
        "dataset_dir": str(dataset),
        "output_dir": str(output),
        "steps": 1,
        "batch_size": 1,
        "val_interval": 0,
        "train#dataset#num_workers": 0,
    }
    # The two-stage bundle fine-tunes its weights by default; the others begin anew, as it shall here.
    kind = {"finetune": False} if name == "hn_ct_two_stage" else {"validate#dataset#num_workers": 0}
    return override | kind | more


def test_properties_that_monai_asks_for(
    name: str, small_root: Path, dataset_dir: Path, workflow, tmp_path: Path
) -> None:
    where = {"dataset_dir": str(dataset_dir), "output_dir": str(tmp_path / "out")}
    train = workflow("train", small_root / name, "train.json", **quick(name, tmp_path / "out", dataset_dir))
    train.initialize()
    assert train.check_properties() == []
    images = {"dataset_dir": str(dataset_dir / "images"), "output_dir": str(tmp_path / "out")}
    infer = workflow("infer", small_root / name, "inference.json", **images)
    infer.initialize()
    assert infer.check_properties() == []
    overlaid = workflow("train", small_root / name, "train.json", "evaluate.json", **where)
    overlaid.initialize()
    # MetricsSaver stands in place of some handlers, but what the platform asks of validation is all there.
    assert overlaid.check_properties() == []


def test_trains_one_step_and_resumes(name: str, small_root: Path, dataset_dir: Path, workflow, tmp_path: Path) -> None:
    output = tmp_path / "run"
    losses: list[float] = []

    def note(engine) -> None:
        losses.append(engine.state.output["loss"].item())

    def train(steps: int):
        override = quick(name, output, dataset_dir, steps=steps)
        flow = workflow("train", small_root / name, "train.json", **override)
        flow.initialize()
        flow.trainer.add_event_handler(IterationEvents.LOSS_COMPLETED, note)
        flow.run()
        flow.finalize()
        return flow

    first = train(1)
    length = len(first.train_dataset)
    assert first.trainer.state.epoch == 1
    assert len(losses) == length
    before = read_state(output / "model.pt")
    assert all(torch.isfinite(value.float()).all() for value in before.values())
    assert len(list(output.glob("train_*.pt"))) == 1
    # The second run goes on where the first one stopped, and does only what is left.
    second = train(2 * length)
    assert second.trainer.state.epoch == 2
    assert second.trainer.state.iteration == 2 * length
    assert len(losses) == 2 * length
    assert all(math.isfinite(loss) for loss in losses)
    after = read_state(output / "model.pt")
    moved = [key for key in before if after[key].is_floating_point() and not torch.equal(before[key], after[key])]
    assert moved
    if name != "hn_ct_localizer":
        return
    # A third one has nothing left to do, and does not train on.
    assert train(2 * length).trainer.state.epoch == 2
    assert len(losses) == 2 * length


def test_training_validates(small_root: Path, dataset_dir: Path, workflow, tmp_path: Path) -> None:
    for name in ("hn_ct_localizer", "parotid_left_ct_segmentation", "hn_ct_two_stage"):
        override = quick(name, tmp_path / name, dataset_dir, val_interval=1)
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
    assert "val_mean_dice" in (tmp_path / "scores" / "metrics.csv").read_text(encoding="utf-8")
    with open(tmp_path / "scores" / "val_dice_raw.csv", encoding="utf-8") as file:
        rows = {Path(row["filename"]).name: row for row in csv.DictReader(file)}
    organs = [specs[name].organ] if specs[name].organ else specs[name].site.organs
    cases = {row["image"].partition("/")[2]: row["labelled"] for row in datalist(dataset_dir)}
    assert set(rows) == {case for case, labelled in cases.items() if {o.key for o in organs} & set(labelled)}
    for case, row in rows.items():
        for column, organ in enumerate(organs):
            score = float(row[f"class{column}"])
            if organ.key not in cases[case]:
                assert math.isnan(score), "an organ without a label must not score"
            elif organ.value == organ_value(name, specs):
                # All of the body, or of the organ's box, is taken for the organ: a poor score, but a score.
                assert 0 < score < 0.5
            else:
                assert score == 0


def datalist(folder: Path) -> list[dict]:
    return json.loads((folder / "dataset.json").read_text(encoding="utf-8"))["validation"]


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory, phantom) -> Path:
    """The phantom as LPS, as RAS, and with permuted and flipped axes, well off the middle of its scan."""
    folder = tmp_path_factory.mktemp("images")
    kinds = {
        "lps": (np.diag([-4.0, -4, 4]), (72, 64, 56)),
        "ras": (np.diag([4.0, 4, 4]), (72, 64, 56)),
        "ipr": (np.array([[0, 0, 4.0], [0, -4, 0], [-4, 0, 0]]), (56, 64, 72)),
    }
    for name, (matrix, shape) in kinds.items():
        affine = phantom.centred_affine(matrix, shape)
        affine[:3, 3] += [40, 24, -18]
        nib.save(nib.Nifti1Image(phantom.draw(shape, affine)[0], affine), folder / f"{name}.nii.gz")
    return folder


def test_segments_in_any_orientation(
    name: str, small_root: Path, images: Path, workflow, tmp_path: Path, specs: dict, localizer_of, phantom
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
    # The weights take the body, wherever the scan has it, for the organ.
    np.testing.assert_allclose(in_world, np.broadcast_to(phantom.centre, (3, 3)), atol=6)


def test_other_weights_by_ckpt_path(small_root: Path, images: Path, workflow, tmp_path: Path) -> None:
    """``ckpt_path`` takes a training checkpoint, which no checksum names."""
    state = torch.load(small_root / "hn_ct_localizer/models/model.pt", weights_only=True)
    state["head.bias"] = state["head.bias"].roll(3)
    torch.save({"model": state}, tmp_path / "trained.pt")
    override = {"dataset_dir": str(images), "output_dir": str(tmp_path / "out")}
    override["ckpt_path"] = str(tmp_path / "trained.pt")
    flow = workflow("infer", small_root / "hn_ct_localizer", "inference.json", **override)
    flow.initialize()
    flow.run()
    assert set(np.unique(nib.load(tmp_path / "out/lps_seg.nii.gz").dataobj)) == {0, 7}


def test_organ_without_a_localizer_says_so(small_root: Path, images: Path, workflow, tmp_path: Path) -> None:
    flow = workflow(
        "infer", small_root / "eye_left_ct_segmentation", "inference.json",
        dataset_dir=str(images), output_dir=str(tmp_path / "out"), localizer_root=str(tmp_path / "nowhere"),
    )  # fmt: skip
    # MONAI wraps the error of whatever it builds; ours is its cause.
    with pytest.raises(RuntimeError) as caught:
        flow.initialize()
        flow.run()
    assert isinstance(caught.value.__cause__, WeightsError)
    assert "no localizer bundle at" in str(caught.value.__cause__)
    assert "nowhere" in str(caught.value.__cause__)
