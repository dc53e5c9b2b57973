"""What the command line imports: nothing that takes longer than to contour."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from oarseg.bundles import FOLDER as BUNDLES
from oarseg.networks import TwoStageNet
from oarseg.requires import installed
from oarseg.sites import load_site
from oarseg.training.weights import FILE, half, save_weights

pytestmark = pytest.mark.slow

SLOW = ("torch", "monai", "ignite")
CODE = (
    "import sys; from oarseg.cli import main; code = main(sys.argv[1:]); "
    f"print(*[m for m in {SLOW!r} if m in sys.modules], file=sys.stderr); sys.exit(code)"
)


def oarseg(*args: object, cache: Path) -> tuple[int, list[str]]:
    """Exit code of the command line in a process of its own, and which of ``SLOW`` it imported."""
    # Not where the cache is: its folder has the package's name.
    elsewhere = cache / "elsewhere"
    elsewhere.mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-c", CODE, *map(str, args)], capture_output=True, text=True, check=False,
        cwd=elsewhere, env=os.environ | {"XDG_CACHE_HOME": str(cache), "HOME": str(cache), "LOCALAPPDATA": str(cache)},
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stderr.splitlines()[-1].split()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The two-stage bundle with narrow networks that take everything for mandible, compressed ones among them."""
    if not installed("openvino"):
        pytest.skip("openvino is not installed")
    from oarseg.checksum import sha256 as file_sha256
    from oarseg.compression.packing import write_packed
    from oarseg.inference.engines.graph import names
    from oarseg.inference.engines.stored import FILE as RANGES
    from oarseg.inference.engines.stored import FOLDER, SUFFIX, Row, write_table

    root = tmp_path_factory.mktemp("bundle") / "hn_ct_two_stage"
    shutil.copytree(BUNDLES / "hn_ct_two_stage" / "configs", root / "configs")
    site = json.loads((root / "configs/site.json").read_text())
    for row in (site["localizer"], *site["organs"]):
        row["base_width"] = 4
    (root / "configs/site.json").write_text(json.dumps(site))
    site = load_site(str(root / "configs/site.json"))
    network = TwoStageNet.for_site(site)
    mandible = network.organs["mandible"]
    parts = {"localizer": (network.localizer, site.localizer), "mandible": (mandible, site.organ("mandible"))}
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        network.localizer.head.bias[4] = mandible.head.bias[1] = 4.0
    meta = json.loads((root / "configs/metadata.json").read_text())
    meta["weights_sha256"] = save_weights(network.state_dict(), root / FILE)
    (root / "configs/metadata.json").write_text(json.dumps(meta))
    folder, rows = root / FOLDER, {}
    folder.mkdir(parents=True)
    for name, (part, about) in parts.items():
        path = folder / f"{name}{SUFFIX}"
        write_packed(path, half(part.state_dict()))
        rows[name] = Row(path, file_sha256(path), about.mean, about.std, dict.fromkeys(names(3), (-4.0, 4.0)))
    write_table(folder / RANGES, meta["weights_sha256"], rows, {})
    return root


@pytest.fixture
def ct(tmp_path: Path, phantom) -> Path:
    shape = (72, 64, 56)
    affine = phantom.lps_affine((4.0, 4.0, 4.0), shape)
    nib.save(nib.Nifti1Image(phantom.draw(shape, affine)[0], affine), tmp_path / "ct.nii.gz")
    return tmp_path / "ct.nii.gz"


def found(folder: Path) -> tuple[dict, np.ndarray]:
    label = nib.load(folder / "segmentation.nii.gz")
    return json.loads((folder / "report.json").read_text()), np.asarray(label.dataobj)


def test_compressed_networks_need_neither_pytorch_nor_monai(bundle, ct, tmp_path) -> None:
    """And give what PyTorch gives of the same bundle."""
    common = ("segment", ct, "--bundle", bundle, "--organs", "mandible", "--device", "cpu")
    assert oarseg(*common, "-o", tmp_path / "a", "--engine", "openvino", cache=tmp_path) == (0, [])
    report, label = found(tmp_path / "a")
    assert report["organs"]["mandible"]["found"] and set(np.unique(label)) == {0, 4}
    code, imported = oarseg(*common, "-o", tmp_path / "b", "--engine", "torch", cache=tmp_path)
    assert code == 0 and "torch" in imported
    np.testing.assert_array_equal(found(tmp_path / "b")[1], label)


def test_a_refused_input_is_told_at_once(bundle, tmp_path) -> None:
    (tmp_path / "bad.nii.gz").write_bytes(b"no image")
    args = ("segment", tmp_path / "bad.nii.gz", "-o", tmp_path / "out", "--bundle", bundle)
    assert oarseg(*args, cache=tmp_path) == (2, [])


@pytest.mark.parametrize("args", [["--help"], ["segment", "--help"], ["organs"], ["--version"]])
def test_help_imports_nothing_slow(args: list[str], tmp_path) -> None:
    assert oarseg(*args, cache=tmp_path) == (0, [])


def test_reading_and_writing_need_neither(write_ct, tmp_path) -> None:
    """DICOM in, RTSTRUCT out, and the preview."""
    code = (
        "import sys; import oarseg.inference.job, oarseg.dicom, oarseg.inference.report.preview, oarseg.geometry.grid; "
        "from oarseg.images.read import read_image; "
        f"image = read_image({str(write_ct(tmp_path / 'ct'))!r}); assert image.volume is not None; "
        f"sys.exit(any(m in sys.modules for m in {SLOW!r}))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=tmp_path).returncode == 0
