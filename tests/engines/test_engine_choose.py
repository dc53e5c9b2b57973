"""Which engine is used, and what is said where it cannot be."""

from __future__ import annotations

import subprocess
import sys
from importlib import invalidate_caches
from importlib.machinery import PathFinder
from pathlib import Path

import pytest
import torch

from oarseg import cpu, requires
from oarseg.errors import ConfigError
from oarseg.inference import Pipeline
from oarseg.inference.engines import TorchEngine, advice, check_engine, choose, make_engine
from oarseg.requires import installed


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch):
    """Pretend that this machine has a processor of some kind, and OpenVINO or not."""

    def pretend(processor: str, has_openvino: bool) -> None:
        monkeypatch.setattr(cpu.platform, "machine", lambda: processor)
        for module in (choose, requires):
            monkeypatch.setattr(
                module, "installed", lambda package: has_openvino if package == "openvino" else installed(package)
            )

    return pretend


@pytest.mark.parametrize("wrong", ["onnx", "", "Torch", "auto:bf16", "torch:int8", "openvino:fp8", "torch:fp32:x"])
def test_unknown_engines_are_named(wrong: str, machine) -> None:
    machine("x86_64", True)
    with pytest.raises(ConfigError, match="engine") as error:
        make_engine(wrong, "cpu")
    assert repr(wrong) in str(error.value) and "\n" not in str(error.value)


def test_openvino_that_is_missing_is_told_with_the_command(machine) -> None:
    machine("x86_64", False)
    for ask in (check_engine, lambda choice: make_engine(choice, "cpu"), lambda choice: Pipeline(engine=choice)):
        with pytest.raises(ConfigError, match=r"pip install 'oarseg\[openvino\]'"):
            ask("openvino")


def test_openvino_is_for_the_cpu(machine) -> None:
    machine("x86_64", True)
    with pytest.raises(ConfigError, match="on the CPU, not on cuda:0"):
        make_engine("openvino", "cuda:0")


@pytest.mark.parametrize(
    ("processor", "has_openvino", "device"),
    [("x86_64", False, "cpu"), ("riscv64", True, "cpu"), ("AMD64", True, "meta")],
)
def test_auto_is_torch_where_openvino_gains_nothing(processor: str, has_openvino: bool, device: str, machine) -> None:
    machine(processor, has_openvino)
    engine = make_engine("auto", device)
    assert isinstance(engine, TorchEngine) and engine.device == torch.device(device)


def test_advice_is_for_those_who_would_gain(machine) -> None:
    machine("x86_64", False)
    assert "pip install" in advice("auto", "cpu")
    assert advice("torch", "cpu") is None and advice("auto", "cuda") is None
    machine("x86_64", True)
    assert advice("auto", "cpu") is None
    machine("riscv64", False)
    assert advice("auto", "cpu") is None


def test_int8_is_for_stored_networks(machine) -> None:
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    with pytest.raises(ConfigError, match="compressed networks"):
        make_engine("openvino:int8", "cpu")


@pytest.mark.parametrize(
    ("asked", "found"), [("3", 3), ("4,2", 4), ("", 0), ("many", 0), ("-1", 0), ("99999999999", 8), ("9" * 5000, 0)]
)
def test_threads_are_those_that_openmp_is_given(asked: str, found: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu.os, "cpu_count", lambda: 8)
    monkeypatch.setenv("OMP_NUM_THREADS", asked)
    assert cpu.threads() == found


@pytest.mark.parametrize(("flags", "has"), [("flags: avx2", False), ("flags: avx_vnni", True), ("", True)])
def test_int8_where_the_processor_has_it(flags: str, has: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "cpu_flags", lambda: flags)
    assert cpu.has_int8() is has


def test_a_folder_left_behind_is_no_openvino(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.setattr(sys, "meta_path", [PathFinder])
    monkeypatch.delitem(sys.modules, "openvino", raising=False)
    assert not installed("openvino")
    (tmp_path / "openvino").mkdir()
    invalidate_caches()
    assert not installed("openvino")
    (tmp_path / "openvino" / "__init__.py").touch()
    invalidate_caches()
    assert installed("openvino")


def test_openvino_that_cannot_be_looked_for_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(name: str) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.delitem(sys.modules, "openvino", raising=False)
    monkeypatch.setattr(requires, "find_spec", fails)
    assert not installed("openvino")


def test_choosing_imports_neither_pytorch_nor_openvino() -> None:
    code = (
        "import sys; from oarseg.inference.engines import advice, check_engine, stored_networks;"
        "from oarseg.sites import load_site; check_engine('torch'); advice('auto', 'cpu');"
        "assert stored_networks('auto', 'nowhere', '00', load_site()) is None;"
        "print(*{'torch', 'monai', 'openvino', 'nncf'} & set(sys.modules))"
    )
    # From another folder: in the repository's own, its folders would hide modules of the same name.
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(sys.executable).parent)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr


@pytest.mark.parametrize(
    ("call", "subject"),
    [
        (lambda: make_engine("torch", "cpu"), "the engine torch"),
        (lambda: make_engine("openvino", "cpu"), "the engine openvino"),
        (lambda: choose.check_device("cuda"), "device 'cuda'"),
    ],
)
def test_without_pytorch_one_line_names_the_extra(call, subject: str, machine, monkeypatch) -> None:
    machine("x86_64", True)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ConfigError, match=rf"{subject}.* needs PyTorch.*oarseg\[monai\]"):
        call()


def test_without_pytorch_auto_is_the_cpu_and_openvino(machine, monkeypatch) -> None:
    machine("riscv64", True)
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr(choose, "may_have_gpu", lambda: True)
    assert choose.chosen_device("auto") == "cpu" and choose.openvino_is_quicker()
    choose.check_device("auto")


@pytest.mark.parametrize("name", ["gpu", "cuda:", "mps"])
def test_a_wrong_device_is_refused_early(name: str) -> None:
    with pytest.raises(ConfigError, match=f"unknown device '{name}'"):
        choose.check_device(name)
