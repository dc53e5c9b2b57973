"""The bundles through MONAI's own command line, in processes of their own, from a directory that is not theirs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from oarseg.training import read_state

pytestmark = pytest.mark.slow

QUICK = ("--device", "$torch.device('cpu')", "--steps", "1", "--batch_size", "1")
UNCACHED = ("--train#dataset#num_workers", "0", "--validate#dataset#num_workers", "0")


def run(command: list[str], cwd: Path) -> str:
    """Output of a command that must succeed."""
    cwd.mkdir(exist_ok=True)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout + done.stderr


@pytest.fixture
def localizer(small_root: Path, tmp_path: Path) -> Path:
    """A downloaded copy of the localizer's bundle: no option but the config's path says where it lies."""
    return Path(shutil.copytree(small_root / "hn_ct_localizer", tmp_path / "downloaded" / "hn_ct_localizer"))


def test_segments_with_a_downloaded_copy(localizer: Path, dataset_dir: Path, tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    shutil.copy(dataset_dir / "images/d.nii.gz", images)
    out = tmp_path / "out"
    run(
        [
            sys.executable, "-m", "monai.bundle", "run", "--config_file", str(localizer / "configs/inference.json"),
            "--dataset_dir", str(images), "--output_dir", str(out), "--device", "$torch.device('cpu')",
        ],
        tmp_path / "elsewhere",
    )  # fmt: skip
    source, result = nib.load(images / "d.nii.gz"), nib.load(out / "d_seg.nii.gz")
    assert result.shape == source.shape
    np.testing.assert_allclose(result.affine, source.affine, atol=1e-4)
    # The copy's narrow weights, not the installed bundle's: everything is mandible.
    assert set(np.unique(np.asarray(result.dataobj))) == {0, 4}


def test_trains_with_a_downloaded_copy(localizer: Path, dataset_dir: Path, tmp_path: Path) -> None:
    shown = run(
        [
            sys.executable, "-m", "monai.bundle", "run", "training", *QUICK, *UNCACHED, "--val_interval", "8",
            "--statistics", "dataset",
            "--config_file", str(localizer / "configs/train.json"),
            "--dataset_dir", str(dataset_dir), "--output_dir", str(tmp_path / "run"),
        ],
        tmp_path / "elsewhere",
    )  # fmt: skip
    assert "val_mean_dice" in shown
    assert "validating after the last epoch, 1; val_interval is 8 epochs" in shown
    assert "intensities: mean" in shown
    assert read_state(tmp_path / "run/model.pt")["head.weight"].shape[:2] == (9, 4)


@pytest.mark.parametrize("bundle", ["hn_ct_localizer", "parotid_left_ct_segmentation", "hn_ct_two_stage"])
def test_two_processes(bundle: str, small_root: Path, dataset_dir: Path, tmp_path: Path) -> None:
    configs = small_root / bundle / "configs"
    run(
        [
            sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2",
            "-m", "monai.bundle", "run", "training",
            "--config_file", f"['{configs / 'train.json'}','{configs / 'multi_gpu_train.json'}']",
            "--dataset_dir", str(dataset_dir), "--output_dir", str(tmp_path / "run"), *QUICK,
            *(["--finetune", "False"] if bundle == "hn_ct_two_stage" else UNCACHED),
        ],
        tmp_path / "elsewhere",
    )  # fmt: skip
    checkpoints = sorted(p.name for p in (tmp_path / "run").glob("*.pt"))
    assert len(checkpoints) == 2 and checkpoints[0] == "model.pt", "one process writes, the other does not"
    # The names are those of the plain network, so that one process can use what two have trained.
    head = "localizer.head.weight" if bundle == "hn_ct_two_stage" else "head.weight"
    assert head in read_state(tmp_path / "run/model.pt")
