"""nnU-Net in the benchmark: its arithmetic with a stand-in for its Python, and the package itself where it is there."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest

from experiments.peers.nnunet import NnUnet, Rival, nnunet_text
from oarseg.benchmark.run import NETWORKS, PASSES_CPU
from oarseg.errors import ConfigError

STAND_IN = """#!{python}
import json, sys
job = json.load(open(sys.argv[-2]))
plan = dict(shape=job.get("shape"), patch=[8, 16, 16], windows=12, features=[32, 64], parameters=5_000_000)
answers = {{
    "plan": plan | dict(gflop_a_window=3.0),
    "window": dict(seconds=2.0, cpu_seconds=1.0),
    "whole": dict(seconds=30.0, cpu_seconds=6.0),
}}
json.dump(answers[job["mode"]] | dict(peak_memory_mib=100.0), open(sys.argv[-1], "w"))
"""


@pytest.fixture
def ct(tmp_path: Path) -> Path:
    hu = np.random.default_rng(0).normal(0, 100, (40, 48, 44)).astype(np.int16)
    nib.save(nib.Nifti1Image(hu, np.diag([-2.0, -2, 4, 1])), tmp_path / "ct.nii.gz")
    return tmp_path / "ct.nii.gz"


@pytest.fixture
def python(tmp_path: Path) -> str:
    """A stand-in for a Python with nnunetv2: 12 windows of 2 s, the whole in 30 s."""
    path = tmp_path / "python"
    path.write_text(STAND_IN.format(python=sys.executable), encoding="utf-8")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(("whole", "seconds", "said"), [(False, 24.0, "12 windows"), (True, 30.0, "Measured over")])
def test_windows_times_seconds_is_marked_as_such(whole, seconds, said, ct, python, tmp_path) -> None:
    rival = NnUnet(ct, 9, Rival(python, whole), tmp_path)
    for _ in range(2):
        rival.turn()
    found = rival.summed_up([SimpleNamespace(seconds={NETWORKS: s, PASSES_CPU: s / 2}) for s in (3.0, 2.0, 4.0)])
    assert (found["cpu_seconds"], found["cpu_ratio"]) == ((6.0, 4.0) if whole else (12.0, 8.0))
    assert found["cpu_seconds_a_window"]["median"] == (0.5 if whole else 1.0)
    assert (found["seconds"], found["ratio"], found["gflop"]) == (seconds, seconds / 3, 36.0)
    assert found["measured"] == ("whole" if whole else "one window") and found["windows"] == 12
    assert found["seconds_a_window"]["median"] == (2.5 if whole else 2.0) and found["classes"] == 9
    text = nnunet_text(found).replace("\n", " ")
    assert said in text and ("Not measured as a whole" in text) != whole and "patch 8 x 16 x 16" in text


@pytest.mark.skipif(find_spec("nnunetv2") is not None, reason="nnunetv2 is installed here")
def test_without_the_package(ct, tmp_path) -> None:
    with pytest.raises(ConfigError, match="has no package nnunetv2"):
        NnUnet(ct, 9, Rival(), tmp_path)


def test_without_that_python(ct, tmp_path) -> None:
    with pytest.raises(ConfigError, match="no Python at .*nowhere"):
        NnUnet(ct, 9, Rival(str(tmp_path / "nowhere")), tmp_path)


@pytest.mark.skipif(find_spec("nnunetv2") is None, reason="needs the package nnunetv2")
def test_the_package_itself(ct, tmp_path) -> None:
    rival = NnUnet(ct, 3, Rival(threads=1), tmp_path)
    assert rival.plan["forward"][0] == 2 and rival.plan["features"][0] == 32 and rival.plan["windows"] >= 1
    rival.turn()
    found = rival.summed_up([SimpleNamespace(seconds={NETWORKS: 1.0, PASSES_CPU: 1.0})])
    assert found["seconds"] > 0 and found["gflop"] > 1
