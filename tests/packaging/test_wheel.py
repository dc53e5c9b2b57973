"""The wheel, installed away from the checkout: what it holds, and that its commands run in an empty folder."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow
MOST_BYTES = 32_000_000
# Put first on the path of a process, stands for a plain install: no PyTorch and no MONAI can be imported.
PLAIN = """import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "monai", "ignite", "torch_pruning"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocked())
"""
KINDS = ("hn_ct_localizer", "eye_left_ct_segmentation", "hn_ct_two_stage")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from the tracked files, so that nothing else in the working tree is in it."""
    folder = tmp_path_factory.mktemp("wheel")
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    for name in filter(None, names.decode().split("\0")):
        if (ROOT / name).is_file():
            copy = folder / "source" / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, copy)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(folder), "."]
    done = subprocess.run(command, cwd=folder / "source", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel into an environment that sees the packages of this one, but not its editable oarseg."""
    folder = tmp_path_factory.mktemp("venv") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    place = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
    # A path in a .pth file is searched, but the .pth files in it, by which the checkout is found, are not read.
    (place / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "--python", str(folder), "install", "-q", "--no-deps", str(wheel)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / ("Scripts" if os.name == "nt" else "bin") / "python"


@pytest.fixture
def oarseg(python: Path, tmp_path: Path):
    """Run the command in an empty folder; by default with PyTorch and MONAI blocked."""
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "sitecustomize.py").write_text(PLAIN, encoding="utf-8")
    (tmp_path / "empty").mkdir()

    def run(*words: str, plain: bool = True, module: str = "oarseg.cli") -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"PYTHONPATH": str(tmp_path / "plain") if plain else ""}
        command = [str(python), "-m", module, *words]
        return subprocess.run(command, cwd=tmp_path / "empty", env=environment, capture_output=True, text=True)

    run.folder = tmp_path / "empty"
    return run


def test_holds_the_package_alone_and_each_weight_once(wheel: Path) -> None:
    assert wheel.stat().st_size <= MOST_BYTES
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.partition("/")[0] for name in names} == {"oarseg", f"oarseg-{wheel.name.split('-')[1]}.dist-info"}
    folders = r"(^|/)(tests?|experiments|results|benchmarks|runs|eval)/"
    wrong = re.compile(folders + r"|\.csv$|events\.out|two_stage/models/.*\.pt$")
    assert not [name for name in names if wrong.search(name)]
    weights = [name for name in names if name.endswith(".pt")]
    assert len(weights) == 9 and len([name for name in names if name.endswith(".packed")]) == 9


def test_holds_every_file_of_the_bundles_that_is_tracked(wheel: Path) -> None:
    tracked = subprocess.run(["git", "ls-files", "bundles", "sites", "demo"], cwd=ROOT, capture_output=True, text=True)
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    missing = {name for name in tracked.stdout.splitlines() if (ROOT / name).is_file()} - {n[7:] for n in names}
    assert not missing


def test_the_demo_runs_without_pytorch_and_as_segment(oarseg) -> None:
    if importlib.util.find_spec("openvino") is None:
        pytest.skip("OpenVINO is not installed")
    shown = oarseg("demo")
    assert shown.returncode == 0 and "openvino" in shown.stdout.lower(), shown.stderr
    demo = json.loads((oarseg.folder / "oarseg_demo" / "report.json").read_text(encoding="utf-8"))
    where = Path(oarseg("bundles", "where").stdout.splitlines()[0])
    assert ROOT not in where.parents and (where / "hn_ct_two_stage").is_dir()
    again = oarseg("segment", str(where.parent / "demo" / "ct"), "-o", "out", "-q")
    assert again.returncode == 0, again.stderr
    report = json.loads((oarseg.folder / "out" / "report.json").read_text(encoding="utf-8"))
    assert report["organs"] == demo["organs"]


@pytest.mark.parametrize(
    ("words", "needs"),
    [
        (("segment", "ct", "-o", "out", "--engine", "torch"), "monai"),
        (("compress", "report", "runs"), "monai"),
        (("statistics", "hn_ct_localizer", "--dataset-dir", "."), "monai"),
        (("demo", "-o", "out", "--device", "cuda"), "monai"),
    ],
)
def test_one_line_names_the_extra_that_a_plain_install_lacks(oarseg, words: tuple[str, ...], needs: str) -> None:
    (oarseg.folder / "ct").mkdir()
    done = oarseg(*words)
    assert done.returncode == 2, done.stderr
    assert f"pip install 'oarseg[{needs}]'" in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr


def test_other_commands_run_without_pytorch(oarseg) -> None:
    for words in (("--version",), ("organs",), ("bundles", "sync", "--check"), ("serve", "--example"), ("series", ".")):
        done = oarseg(*words)
        assert done.returncode == (2 if words[0] == "series" else 0), done.stderr
    assert "Traceback" not in done.stderr


def test_the_node_checks_its_settings(oarseg) -> None:
    pytest.importorskip("pynetdicom")
    (oarseg.folder / "node.toml").write_text(oarseg("serve", "--example").stdout, encoding="utf-8")
    done = oarseg("serve", "--check", "node.toml")
    assert done.returncode == 0 and "the settings are good" in done.stdout, done.stderr


def test_a_batch_of_one(oarseg) -> None:
    pytest.importorskip("ray")
    where = Path(oarseg("bundles", "where").stdout.splitlines()[0])
    done = oarseg("batch", str(where.parent / "demo" / "ct"), "-o", "out", "--workers", "1")
    assert done.returncode == 0 and "1 contoured" in done.stdout, done.stderr
    assert (oarseg.folder / "out" / "index.html").is_file()


@pytest.mark.parametrize("name", KINDS)
def test_monai_runs_each_kind_of_bundle(oarseg, name: str, python: Path) -> None:
    where = Path(oarseg("bundles", "where").stdout.splitlines()[0])
    make = (
        "import sys, nibabel, numpy; from oarseg.images.read import read_image; ct = read_image(sys.argv[1]);"
        "nibabel.save(nibabel.Nifti1Image(numpy.asarray(ct.hu, numpy.int16), ct.affine), sys.argv[2])"
    )
    (oarseg.folder / "cts").mkdir()
    ct = ("-c", make, str(where.parent / "demo" / "ct"), str(oarseg.folder / "cts" / "average.nii.gz"))
    subprocess.run([str(python), *ct], check=True, cwd=oarseg.folder)
    bundle = where / name
    done = oarseg(
        "run", "--bundle_root", str(bundle), "--config_file", str(bundle / "configs" / "inference.json"),
        "--meta_file", str(bundle / "configs" / "metadata.json"), "--dataset_dir", str(oarseg.folder / "cts"),
        "--output_dir", str(oarseg.folder / "out"), plain=False, module="monai.bundle",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert list((oarseg.folder / "out").rglob("*.nii.gz"))
