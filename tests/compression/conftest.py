"""A tiny network with lively BatchNorms; small copies of a localizer's and an organ's bundle with random weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from shaken import lively, shaken

from oarseg.bundles.render import render
from oarseg.bundles.spec import TEMPLATES, bundle_specs
from oarseg.networks import UNet3d
from oarseg.networks.two_stage import TwoStageNet
from oarseg.sites import load_site
from oarseg.training.weights import FILE, save_weights

__all__ = ["shaken"]


@pytest.fixture
def small() -> UNet3d:
    """A U-Net of 8, 16 and 32 channels and three classes, in evaluation mode."""
    return lively(UNet3d(3, 8, 2, mean=0.3, std=0.2)).eval()


@pytest.fixture
def image() -> torch.Tensor:
    return torch.rand(1, 1, 16, 16, 16, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of small copies of two bundles, "localizer" and "organ", as they are in the templates."""
    root, found = tmp_path_factory.mktemp("bundles"), {}
    for spec in bundle_specs(load_site())[:2]:
        folder = root / spec.name
        files = render(spec, folder)
        files["configs/compress.json"] = (TEMPLATES / "common" / "compress.json").read_bytes()
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        _narrow(folder, spec.organ.key if spec.organ else None)
        found[spec.kind] = folder
    return found


def _narrow(folder: Path, organ: str | None) -> None:
    """Networks of width 8 on small grids, with random weights that the metadata know."""
    table = folder / "configs" / "site.json"
    raw = json.loads(table.read_text(encoding="utf-8"))
    raw["localizer"] |= {"base_width": 8, "train_crop": [16, 24, 24], "spacing_mm": [10, 10, 10]}
    for row in raw["organs"]:
        row |= {"base_width": 8, "grid": [16, 16, 16]}
    table.write_text(json.dumps(raw), encoding="utf-8")
    both = lively(TwoStageNet.for_site(load_site(str(table))))
    network = both.organs[organ] if organ else both.localizer
    meta = folder / "configs" / "metadata.json"
    content = json.loads(meta.read_text(encoding="utf-8"))
    content["weights_sha256"] = save_weights(network.state_dict(), folder / FILE)
    meta.write_text(json.dumps(content), encoding="utf-8")
