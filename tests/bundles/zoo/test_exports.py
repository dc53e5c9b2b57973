"""``ckpt_export`` and ``onnx_export`` of MONAI for every bundle: the exports compute what the network computes."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser, ckpt_export, onnx_export
from monai.data import load_net_with_metadata
from torch import nn

from oarseg.training import load_weights
from oarseg.training.weights import FILE

pytestmark = pytest.mark.slow

SIZE = (16, 24, 32)


def paths(folder: Path) -> dict[str, str]:
    """What both commands take: the files of a bundle."""
    return {
        "net_id": "network_def",
        "ckpt_file": str(folder / FILE),
        "meta_file": str(folder / "configs/metadata.json"),
        "config_file": str(folder / "configs/inference.json"),
        "bundle_root": str(folder),
    }


def network(folder: Path) -> nn.Module:
    """The bundle's network as its config defines it, with its weights."""
    parser = ConfigParser()
    parser.read_config(str(folder / "configs/inference.json"))
    parser.read_meta(str(folder / "configs/metadata.json"))
    parser["bundle_root"] = str(folder)
    found = parser.get_parsed_content("network_def")
    load_weights(found, folder / FILE)
    return found.eval()


def picture(size: tuple[int, ...]) -> torch.Tensor:
    return torch.rand((1, 1, *size), generator=torch.Generator().manual_seed(1))


@pytest.mark.filterwarnings("ignore")
def test_torchscript(name: str, published: Path, tmp_path: Path) -> None:
    """Traced, since TorchScript's compiler knows less Python than the networks are written in."""
    target = tmp_path / "model.ts"
    ckpt_export(filepath=str(target), use_trace=True, input_shape=[1, 1, 8, 8, 8], **paths(published / name))
    module, meta, extra = load_net_with_metadata(str(target), more_extra_files=["inference.json"])
    assert meta["name"] == name and meta["network_data_format"]
    assert b"network_def" in extra["inference.json"]
    original = network(published / name)
    # Of another size than what it was traced with, so a trace that holds for one size only would be seen.
    with torch.no_grad():
        torch.testing.assert_close(module.eval()(picture(SIZE)), original(picture(SIZE)), rtol=1e-4, atol=1e-4)
    # A two-stage bundle's forward pass is the localizer's, but its file holds all nine networks.
    assert sum(p.numel() for p in module.parameters()) == sum(p.numel() for p in original.parameters())


@pytest.mark.filterwarnings("ignore")
def test_onnx(name: str, published: Path, specs: dict, tmp_path: Path) -> None:
    for package in ("onnx", "onnxscript"):
        pytest.importorskip(package, reason=f"onnx_export needs {package}")
    onnx = pytest.importorskip("onnx")
    target, organ = tmp_path / "model.onnx", specs[name].organ
    # An organ's network has one size, which MONAI reads in the metadata. Large ones take long to compute.
    known = organ is not None and math.prod(organ.grid) <= 32**3
    size = organ.grid if known else SIZE
    onnx_export(filepath=str(target), input_shape=None if known else [1, 1, *SIZE], **paths(published / name))
    onnx.checker.check_model(str(target))
    openvino = pytest.importorskip("openvino", reason="the exported network is computed with openvino")
    compiled = openvino.compile_model(str(target), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = torch.from_numpy(np.array(compiled(picture(size).numpy())[0]))
    with torch.no_grad():
        torch.testing.assert_close(found, network(published / name)(picture(size)), rtol=1e-3, atol=1e-3)
