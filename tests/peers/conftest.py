"""MONAI Label's environment, an app with the bundles, and two head-and-neck CTs: one from DICOM, one askew."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import nibabel as nib
import numpy as np
import pytest

import oarseg.demo
from oarseg.bundles import FOLDER
from oarseg.bundles.spec import bundle_specs
from oarseg.dicom.read.series import read_ct
from oarseg.sites import load_site

LINES = pytest.StashKey[list[str]]()
VARIABLE = "OARSEG_MONAILABEL"
CT = Path(oarseg.demo.__file__).parent / "ct"
TWO_STAGE = "hn_ct_two_stage"
BUNDLES = [spec.name for spec in bundle_specs(load_site())]
# What MONAI Label does with a series that it fetched by DICOMweb.
TO_NIFTI = "import sys, shutil; from monailabel.datastore.utils.convert import dicom_to_nifti; \
shutil.move(dicom_to_nifti(sys.argv[1]), sys.argv[2])"


def run_oarseg(*arguments: str | Path) -> None:
    """The command line in this environment, not in MONAI Label's."""
    done = subprocess.run([sys.executable, "-m", "oarseg.cli", *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def digest(root: Path) -> dict[str, str]:
    """SHA-256 of every file of the bundles below ``root``."""
    files = [path for name in BUNDLES for path in sorted((root / name).rglob("*")) if path.is_file()]
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(name="run_oarseg", scope="session")
def _run_oarseg() -> Callable[..., None]:
    return run_oarseg


@pytest.fixture(name="digest", scope="session")
def _digest() -> Callable[[Path], dict[str, str]]:
    return digest


@pytest.fixture(scope="session")
def monai_label() -> ModuleType:
    """The module beside this file; pytest's importlib mode puts no folder of tests on the path."""
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location("monai_label", Path(__file__).with_name("monai_label.py"))
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def environment(monai_label: ModuleType):
    path = os.environ.get(VARIABLE, "")
    if not path:
        pytest.skip(f"{VARIABLE} names no environment with MONAI Label; make test-monailabel makes one")
    if not (Path(path) / "bin/monailabel").is_file():
        pytest.fail(f"{VARIABLE}={path}: no bin/monailabel there")
    return monai_label.Environment(Path(path).resolve())


@pytest.fixture(scope="session")
def new_app(environment, tmp_path_factory: pytest.TempPathFactory):
    """Makes a fresh ``monaibundle`` app, as the MONAI Label command line does; returns its folder."""

    def make() -> Path:
        folder = tmp_path_factory.mktemp("app")
        environment.run("monailabel", "apps", "--download", "--name", "monaibundle", "--output", str(folder))
        (folder / "monaibundle/model").mkdir(exist_ok=True)
        return folder / "monaibundle"

    return make


@pytest.fixture(scope="session")
def studies(environment, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two CTs as NIfTI by image name.

    ``from_dicom``: the demo's series as MONAI Label converts it. ``askew``: the same voxels with axes towards
    posterior, inferior and right, in a head turned by 4 degrees, moved, and with voxels of other sizes. (Beyond 5
    degrees the command line resamples the CT, which a bundle run by MONAI does not.)
    """
    folder = tmp_path_factory.mktemp("ct")
    paths = {name: folder / f"{name}.nii.gz" for name in ("from_dicom", "askew")}
    environment.run("python", "-c", TO_NIFTI, str(CT), str(paths["from_dicom"]))
    volume = read_ct(CT)  # slices to superior, rows to posterior, columns to left
    turn = np.eye(3)
    turn[:2, :2] = [[np.cos(np.pi / 45), -np.sin(np.pi / 45)], [np.sin(np.pi / 45), np.cos(np.pi / 45)]]
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.array([[0, 0, 2.1], [-1.9, 0, 0], [0, -3.1, 0]])
    affine[:3, 3] = (-140, 95, 88)
    hu = volume.hu.transpose(1, 0, 2)[:, ::-1, ::-1]
    nib.save(nib.Nifti1Image(np.ascontiguousarray(hu), affine), paths["askew"])
    return paths


@pytest.fixture(scope="session")
def contours(studies: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What ``oarseg segment`` says of both, in this environment; of the first, from its DICOM series itself."""
    out = tmp_path_factory.mktemp("contours")
    for name, source in {"from_dicom": CT, "askew": studies["askew"]}.items():
        run_oarseg("segment", source, "-o", out / name, "--engine", "torch:fp32", "--quiet")
    return {name: out / name / "segmentation.nii.gz" for name in studies}


@pytest.fixture(scope="session")
def served(monai_label, environment, new_app, studies, tmp_path_factory: pytest.TempPathFactory) -> Iterator:
    """A server of all bundles, linked from where they lie but for the two-stage one's weight file, with both CTs."""
    app = new_app()
    for name in set(BUNDLES) - {TWO_STAGE}:
        (app / "model" / name).symlink_to(FOLDER / name)
    shutil.copytree(FOLDER / TWO_STAGE, app / "model" / TWO_STAGE)
    # MONAI Label ignores a bundle without models/model.pt.
    run_oarseg("bundles", "weights", TWO_STAGE, "--root", app / "model")
    before = digest(FOLDER)
    with monai_label.Server(environment, app, BUNDLES, tmp_path_factory.mktemp("server")) as server:
        for name, path in studies.items():
            server.add_image(name, path)
        yield server
    assert digest(FOLDER) == before


@pytest.fixture(scope="session")
def record(request: pytest.FixtureRequest) -> Callable[[str, dict[str, float]], None]:
    """``record(name, scores)``: lowest and mean Dice, listed at the end of the run."""
    lines = request.config.stash.setdefault(LINES, [])
    return lambda name, found: lines.append(f"{name}: {_told(found)}")


def _told(found: dict[str, float]) -> str:
    lowest = min(found, key=found.get)
    return f"Dice {np.mean(list(found.values())):.4f}, lowest {found[lowest]:.4f} ({lowest})"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if lines := config.stash.get(LINES, []):
        terminalreporter.section("MONAI Label: agreement with oarseg")
        for line in lines:
            terminalreporter.line(line)
