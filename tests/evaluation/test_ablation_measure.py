"""Costs of a pass: FLOPs agree with counting on paper, sizes are valid, networks are taken once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from oarseg.evaluation.ablation_measure import distinct, flops, measure_all, valid_size
from oarseg.evaluation.ablation_plan import load_plan
from oarseg.networks import UNet3d


def test_flops_of_a_convolution() -> None:
    layer = nn.Conv3d(2, 3, 3, padding=1, bias=False)
    assert flops(nn.Sequential(nn.Conv3d(1, 2, 1, bias=False), layer), (8, 8, 8)) == 2 * 8**3 * (2 * 3 * 27 + 1 * 2)


def test_flops_of_the_thesis_network() -> None:
    """About 0.77 TFLOP at 72 x 208 x 208; nothing is computed, and the network stays where it was."""
    network = UNet3d(9, 24).eval()
    assert flops(network, (72, 208, 208)) == pytest.approx(0.77e12, rel=0.03)
    assert next(network.parameters()).device == torch.device("cpu")


def test_valid_sizes() -> None:
    assert valid_size(UNet3d(2, 2, poolings=4), (72, 208, 208)) == (80, 208, 208)
    assert valid_size(UNet3d(2, 2, poolings=3), (72, 208, 208)) == (72, 208, 208)


def test_each_network_once() -> None:
    assert distinct(load_plan()) == [
        "base", "pool2", "pool4", "width12", "width16", "anatomynet", "dynunet", "segresnet",
    ]  # fmt: skip


def test_measures_a_small_plan(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    rows = [
        {"name": n, "title": n, "bundle": "hn_ct_localizer", "loss": "l", "overrides": {"network_def#base_width": w}}
        for n, w in (("small", 2), ("base", 4))
    ]
    path.write_text(json.dumps({"budget": {}, "losses": {"l": {}}, "rows": rows}), encoding="utf-8")
    found = measure_all(load_plan(path), path, repeats=1, size=(16, 16, 16))
    assert (found["reference"], list(found["networks"])) == ("base", ["base", "small"])
    base, small = found["networks"]["base"], found["networks"]["small"]
    assert base["ratio"] == 1
    assert base["parameters"] == sum(p.numel() for p in UNet3d(9, 4).parameters())
    assert small["tflop"] < base["tflop"]
    assert 0.1 < small["peak_gib"] < 4
    assert small["seconds"] > 0
