"""Small copies of the bundles: the shipped configs, narrow networks, weights whose answer is known."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigWorkflow
from torch import nn

from oarseg.bundles import FOLDER
from oarseg.bundles.pack import pack
from oarseg.bundles.render import sync
from oarseg.bundles.spec import bundle_specs
from oarseg.bundles.unpack import unpack
from oarseg.networks import TwoStageNet
from oarseg.sites import load_site
from oarseg.training.weights import FILE, save_weights

SITE = load_site()
SPECS = {spec.name: spec for spec in bundle_specs(SITE)}
WIDTH = 4


@pytest.fixture(scope="session")
def specs() -> dict:
    """The bundle specifications of the head-and-neck site by name."""
    return SPECS


def answer(network: nn.Module, channel: int) -> nn.Module:
    """Make a network say ``channel`` everywhere, whatever it sees."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        network.head.bias[channel] = 4.0
    return network


def narrow(folder: Path, value: int = 4) -> None:
    """Rewrite a bundle folder's site table to narrow networks, with weights that answer organ ``value`` everywhere."""
    table = folder / "configs" / "site.json"
    raw = json.loads(table.read_text(encoding="utf-8"))
    for row in (raw["localizer"], *raw["organs"]):
        row["base_width"] = WIDTH
    raw["localizer"]["train_crop"] = [32, 48, 40]
    for row in raw["organs"]:
        row["grid"] = [max(16, n // 2) for n in row["grid"]]
    table.write_text(json.dumps(raw), encoding="utf-8")
    network = TwoStageNet.for_site(load_site(str(table)))
    answer(network.localizer, value)
    for organ in network.organs.values():
        answer(organ, 1)
    spec = SPECS[folder.name]
    part = {"localizer": network.localizer, "two_stage": network}.get(spec.kind)
    part = network.organs[spec.organ.key] if part is None else part
    meta = folder / "configs" / "metadata.json"
    content = json.loads(meta.read_text(encoding="utf-8"))
    content["weights_sha256"] = save_weights(part.state_dict(), folder / FILE)
    meta.write_text(json.dumps(content, indent=4), encoding="utf-8")


@pytest.fixture(scope="session")
def small_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All bundles with narrow networks; the localizer and the two-stage bundle take everything for mandible."""
    root = tmp_path_factory.mktemp("bundles")
    sync(SITE, root)
    for name in SPECS:
        narrow(root / name)
    return root


@pytest.fixture
def localizer_of(small_root: Path, tmp_path: Path):
    """``localizer_of(value)``: folder of a localizer bundle that takes everything for that organ."""

    def make(value: int) -> Path:
        folder = tmp_path / "localizers" / str(value) / "hn_ct_localizer"
        shutil.copytree(small_root / "hn_ct_localizer", folder)
        narrow(folder, value)
        return folder

    return make


@pytest.fixture
def workflow():
    """Build a ConfigWorkflow of configs in a bundle folder: ``workflow("train", folder, "train.json", key=value)``."""
    made: list[ConfigWorkflow] = []

    def build(kind: str, folder: Path, *configs: str, **override: object) -> ConfigWorkflow:
        files = [str(folder / "configs" / name) for name in configs]
        found = ConfigWorkflow(
            config_file=files if len(files) > 1 else files[0],
            meta_file=str(folder / "configs" / "metadata.json"),
            logging_file=str(folder / "configs" / "logging.conf"),
            workflow_type=kind,
            **{"bundle_root": str(folder), "device": "cpu", **override},
        )
        made.append(found)
        return found

    return build


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Tests that ask for ``name`` run for all ten bundles, those that ask for ``organ_name`` for the eight organs'."""
    if "name" in metafunc.fixturenames:
        metafunc.parametrize("name", list(SPECS))
    if "organ_name" in metafunc.fixturenames:
        metafunc.parametrize("organ_name", [name for name, spec in SPECS.items() if spec.kind == "organ"])


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundles of the repository as somebody gets them: packed and unpacked."""
    folder = tmp_path_factory.mktemp("published")
    for one in pack(SITE, FOLDER, folder / "zoo", base_url="https://example.org"):
        unpack(str(one.path), folder / "got")
        one.path.unlink()
    return folder / "got"


@pytest.fixture(scope="session")
def shipped() -> Path:
    """The folder of the bundles as they are in the repository."""
    return FOLDER
