"""Which device: PyTorch is asked only where there may be a GPU."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from oarseg.errors import ConfigError
from oarseg.inference.engines import choose as device
from oarseg.inference.engines.choose import chosen_device, may_have_gpu


def test_without_a_driver_nothing_is_imported() -> None:
    code = (
        "import sys; from oarseg.inference.engines import choose as device; device.may_have_gpu = lambda: False; "
        "sys.exit(device.chosen_device('auto') != 'cpu' or 'torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_pytorch_decides_where_there_is_a_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "may_have_gpu", lambda: True)
    for there in (True, False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert chosen_device("auto") == ("cuda" if there else "cpu")


def test_a_gpu_that_pytorch_finds_is_not_overlooked() -> None:
    assert may_have_gpu() or not torch.cuda.is_available()


def test_numbers_of_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [chosen_device(name) for name in ("cpu", "cuda", "cuda:0", "cuda:1")] == ["cpu", "cuda", "cuda:0", "cuda:1"]
    with pytest.raises(ConfigError, match="'cuda:2' is not there; this machine has 2"):
        chosen_device("cuda:2")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="has 0"):
        chosen_device("cuda")


@pytest.mark.parametrize("name", ["quantum", "cuda:", "cuda:x", "cuda:-1", "CPU", "", "mps", "cuda:0\n"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="unknown device"):
        chosen_device(name)
