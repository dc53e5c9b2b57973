"""Bundles whose configs oarseg 0.1.0 packed train, evaluate and segment with this version."""

from __future__ import annotations

import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from oarseg.training import read_state

pytestmark = pytest.mark.slow

CONFIGS = Path(__file__).parent / "configs_0_1_0"
KINDS = {
    "hn_ct_localizer": "localizer",
    "parotid_left_ct_segmentation": "organ",
    "hn_ct_two_stage": "two_stage",
}


@pytest.fixture
def old(small_root: Path, tmp_path: Path):
    """``old(bundle)``: a copy of a narrow bundle with 0.1.0's configs and weights without mean and spread."""

    def make(name: str) -> Path:
        folder = tmp_path / "bundles" / name
        shutil.copytree(small_root / name, folder)
        for config in (CONFIGS / KINDS[name]).iterdir():
            shutil.copy(config, folder / "configs")
        return folder

    return make


@pytest.mark.parametrize("bundle", KINDS)
def test_trains_evaluates_and_segments(bundle: str, old, dataset_dir: Path, workflow, tmp_path: Path) -> None:
    folder, run = old(bundle), tmp_path / "run"
    own = {"dataset_dir": str(dataset_dir), "output_dir": str(run)}
    own |= {"localizer_root": str(old("hn_ct_localizer"))} if KINDS[bundle] == "organ" else {}
    short = {"steps": 1, "batch_size": 1, "val_interval": 1, "train#dataset#num_workers": 0}
    short |= {"finetune": False} if KINDS[bundle] == "two_stage" else {"validate#dataset#num_workers": 0}
    flow = workflow("train", folder, "train.json", **own | short)
    flow.initialize()
    flow.run()
    assert 0 <= flow.parser.get_parsed_content("validate::evaluator").state.metrics["val_mean_dice"] <= 1
    # Weights as 0.1.0 wrote them: without the statistics, which then are the site table's.
    state = {key: value for key, value in read_state(run / "model.pt").items() if "standardize" not in key}
    torch.save({"model": state}, tmp_path / "old.pt")
    scores = own | {"ckpt_path": str(tmp_path / "old.pt"), "output_dir": str(tmp_path / "scores")}
    flow = workflow("train", folder, "train.json", "evaluate.json", **scores)
    flow.initialize()
    flow.parser.get_parsed_content("evaluating")
    assert (tmp_path / "scores" / "metrics.csv").is_file()
    images = own | {"dataset_dir": str(dataset_dir / "images"), "output_dir": str(tmp_path / "out")}
    flow = workflow("infer", folder, "inference.json", **images)
    flow.initialize()
    flow.run()
    result = nib.load(tmp_path / "out/d_seg.nii.gz")
    assert result.shape == nib.load(dataset_dir / "images/d.nii.gz").shape
    assert result.get_data_dtype() == np.uint8


def test_a_training_that_0_1_0_began_goes_on(old, dataset_dir: Path, workflow, tmp_path: Path) -> None:
    """Its checkpoints hold no mean and spread, in the network or in the average."""
    folder, run = old("hn_ct_localizer"), tmp_path / "run"

    def train(epochs: int):
        flow = workflow(
            "train", folder, "train.json", dataset_dir=str(dataset_dir), output_dir=str(run), steps=6 * epochs,
            val_interval=1000, **{f"{part}#dataset#num_workers": 0 for part in ("train", "validate")},
        )  # fmt: skip
        flow.initialize()
        flow.run()
        return flow.trainer.state

    train(1)
    (path,) = run.glob("train_*.pt")
    content = torch.load(path, weights_only=True)
    for part in ("network", "average"):
        content[part] = {key: value for key, value in content[part].items() if "standardize" not in key}
    torch.save(content, path)
    assert "encoder.0.0.weight" in read_state(path)
    assert train(2).epoch == 2
    assert read_state(run / "model.pt")["standardize.mean"].item() == pytest.approx(0.2536)
