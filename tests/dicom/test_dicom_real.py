"""Real series, where a person has them: OARSEG_TEST_DICOM names a folder with the archives; skipped without it."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import numpy as np
import pytest

from oarseg.dicom import Roi, read_ct, scan_folder, write_rtstruct
from oarseg.errors import GeometryError, InputError

ENV = "OARSEG_TEST_DICOM"
PLANNING, NECK, BROKEN = "planning_ct_head_neck.tar.xz", "neck_ct_jpeg2000.tar", "broken_series.tar.xz"


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    """Unpack one of the archives once; gives its folder."""
    done: dict[str, Path] = {}
    source = os.environ.get(ENV)

    def unpack(name: str) -> Path:
        if not source:
            pytest.skip(f"{ENV} is not set")
        if not (Path(source) / name).is_file():
            pytest.skip(f"{name} is not in {ENV}")
        if name not in done:
            done[name] = tmp_path_factory.mktemp("real")
            with tarfile.open(Path(source) / name) as archive:
                archive.extractall(done[name], filter="data")
        return done[name]

    return unpack


def test_planning_ct(unpacked, tmp_path):
    volume = read_ct(unpacked(PLANNING))
    assert volume.shape == (90, 511, 511)
    assert np.allclose(volume.affine, [[0, 0, -1, -1], [0, -1, 0, 511], [3, 0, 0, -267], [0, 0, 0, 1]])
    assert (volume.hu.min(), volume.hu.max()) == (-1024, 3844)
    done = write_rtstruct(tmp_path / "rt.dcm", volume, [Roi("Bone", (255, 255, 255), volume.hu > 700)])
    assert done.written == ("Bone",)


def test_jpeg2000_neck(unpacked):
    volume = read_ct(unpacked(NECK))
    assert volume.shape == (295, 512, 512)
    assert np.allclose(volume.spacing_mm, (1, 0.541015625, 0.541015625))
    assert volume.hu.min() == -1024 and 2000 < volume.hu.max() < 3072


@pytest.mark.parametrize(
    ("folder", "error", "message"),
    [
        ("sliceincrement/001", GeometryError, "gaps: about 1 slice"),
        ("sliceincrement/002", GeometryError, "gaps: about 1 slice"),
        ("sliceorientation", InputError, "MR object"),
        ("slicecount", InputError, "MR object"),
        ("notavolume", GeometryError, "position of another one"),
        ("gantrytilting", GeometryError, "14.0 degrees"),
    ],
)
def test_broken_series(unpacked, folder, error, message):
    root = unpacked(BROKEN)
    (place,) = [p for p in root.rglob(folder.split("/")[0]) if p.is_dir()]
    with pytest.raises(error, match=message):
        read_ct(place / folder.partition("/")[2])


def test_enhanced_and_rtstruct_are_told(unpacked):
    source = Path(os.environ.get(ENV, ""))
    if not os.environ.get(ENV) or not (source / "enhanced_multiframe_ct.dcm").is_file():
        pytest.skip(f"enhanced_multiframe_ct.dcm is not in {ENV}")
    scan = scan_folder(source)
    assert scan.series == ()
    assert any("enhanced multi-frame" in n for n in scan.notes) and any("RTSTRUCT" in n for n in scan.notes)
