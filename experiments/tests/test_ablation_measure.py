"""Costs of a pass: FLOPs agree with counting on paper, sizes are valid, networks are taken once."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from experiments.ablation.measure import (
    SEPARATE,
    SHARED,
    distinct,
    flops,
    measure_all,
    measure_stage2,
    valid_size,
)
from experiments.ablation.plan import load_plan
from experiments.ablation.stage2 import stage2_section
from oarseg.errors import ConfigError
from oarseg.networks import UNet3d
from oarseg.sites import load_site

pytestmark = pytest.mark.slow


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


@pytest.mark.slow
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


def test_both_kinds_of_stage_2(tmp_path: Path) -> None:
    """Figures against counting, and how the report tells them."""
    widths = {"mandible": 4}
    organs = tuple(replace(o, grid=(16, 16, 16), base_width=widths.get(o.key, 2)) for o in load_site().organs)
    content = measure_stage2(replace(load_site(), organs=organs), repeats=2)
    separate, shared = (content["stage2"]["kinds"][name] for name in (SEPARATE, SHARED))
    sizes = {width: sum(p.numel() for p in UNet3d(2, width).parameters()) for width in (2, 4)}
    assert separate["parameters"] == 7 * sizes[2] + sizes[4]
    assert sizes[4] < shared["parameters"] < 1.3 * sizes[4]
    assert separate["megabytes"] > shared["megabytes"] > 0
    assert shared["tflop"] == pytest.approx(8 * flops(UNet3d(2, 4), (16, 16, 16)) / 1e12, rel=1e-3)
    assert separate["ratio"] == 1
    assert min(separate["core_seconds"], shared["core_seconds"], shared["ratio"]) > 0
    (tmp_path / "measured.json").write_text(json.dumps(content), encoding="utf-8")
    text = stage2_section(tmp_path)
    assert f"| one for all organs | {shared['parameters'] / 1e6:.2f} M | {shared['megabytes']:.1f} |" in text
    assert "each of the 8 organs" in text


def test_stage_2_not_measured_or_malformed(tmp_path: Path) -> None:
    assert stage2_section(tmp_path) == ""
    (tmp_path / "measured.json").write_text("{}", encoding="utf-8")
    assert stage2_section(tmp_path) == ""
    (tmp_path / "measured.json").write_text('{"stage2": {"kinds": {"x": {}}}}', encoding="utf-8")
    with pytest.raises(ConfigError, match="measured.json is malformed.*measure again"):
        stage2_section(tmp_path)
