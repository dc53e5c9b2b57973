"""Reading NIfTI and NRRD: a ball at a known place in the patient is there after reading, whatever the file's axes."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import nibabel as nib
import nrrd
import numpy as np
import pytest

from oarseg import demo
from oarseg.errors import GeometryError, InputError
from oarseg.images.read import read_image

DEMO_CT = Path(demo.__file__).parent / "ct"

# RAS mm: 10 mm to the left, 14 mm in front and 18 mm above the middle; three different figures.
BALL = np.array([-10.0, 14.0, 18.0])
SHAPE, SPACING = (40, 44, 30), (2.0, 2.5, 3.0)


def _turn(*degrees: float) -> np.ndarray:
    a, b = np.radians(degrees)
    one = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    return one @ np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])


DIRECTIONS = {
    "RAS": np.eye(3),
    "LPS": np.diag([-1.0, -1, 1]),
    "LAI": np.diag([-1.0, 1, -1]),
    "PIR": np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]]),
    "SLA": np.array([[0.0, -1, 0], [0, 0, 1], [1, 0, 0]]),
    "oblique": _turn(20, 15),
}


def scan(direction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """HU (i, j, k) with the ball at BALL, and the RAS affine."""
    affine = np.eye(4)
    affine[:3, :3] = direction * SPACING
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(SHAPE) - 1) / 2) + [1.5, -2.5, 3.5]
    points = np.moveaxis(np.indices(SHAPE), 0, -1) @ affine[:3, :3].T + affine[:3, 3]
    hu = np.where(np.linalg.norm(points, axis=-1) < 32, 30, -1000).astype(np.int16)
    hu[np.linalg.norm(points - BALL, axis=-1) < 6] = 1200
    return hu, affine


def ball_of(image) -> np.ndarray:
    """Centroid of the ball, RAS mm, by the image's own affine."""
    index = np.argwhere(image.hu > 1000)
    return (index @ image.affine[:3, :3].T + image.affine[:3, 3]).mean(axis=0)


@pytest.mark.parametrize("name", DIRECTIONS)
def test_a_nifti_keeps_its_voxels_and_its_place(name, tmp_path):
    hu, affine = scan(DIRECTIONS[name])
    nib.save(nib.Nifti1Image(hu, affine), tmp_path / "ct.nii.gz")
    image = read_image(tmp_path / "ct.nii.gz")
    assert image.hu.shape == SHAPE and image.hu.dtype == np.int16
    assert np.array_equal(image.hu, hu)
    assert np.allclose(image.affine, affine, atol=1e-4)
    assert np.abs(ball_of(image) - BALL).max() < 0.8
    assert (image.kind, image.volume, image.warnings) == ("NIfTI", None, ())


@pytest.mark.parametrize("space", ["left-posterior-superior", "right-anterior-superior", "LPS"])
@pytest.mark.parametrize("name", ["RAS", "PIR", "oblique"])
def test_an_nrrd_lies_where_its_space_says(name, space, tmp_path):
    hu, affine = scan(DIRECTIONS[name])
    world = affine[:3] if space.startswith("right") else np.diag([-1.0, -1, 1]) @ affine[:3]
    header = {"space": space, "space directions": world[:, :3].T, "space origin": world[:, 3]}
    nrrd.write(str(tmp_path / "ct.nrrd"), hu, header)
    image = read_image(tmp_path / "ct.nrrd")
    assert np.array_equal(image.hu, hu) and image.hu.dtype == np.int16
    assert np.allclose(image.affine, affine) and image.kind == "NRRD"
    assert np.abs(ball_of(image) - BALL).max() < 0.8


def test_a_detached_nrrd_header_is_read(tmp_path):
    hu, affine = scan(np.eye(3))
    world = np.diag([-1.0, -1, 1]) @ affine[:3]
    header = {"space": "left-posterior-superior", "space directions": world[:, :3].T, "space origin": world[:, 3]}
    nrrd.write(str(tmp_path / "ct.nhdr"), hu, header)
    assert np.allclose(read_image(tmp_path / "ct.nhdr").affine, affine)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, ">i2", np.int16])
def test_every_number_type_becomes_int16(dtype, tmp_path):
    hu, affine = scan(np.eye(3))
    values = hu.astype(dtype) + (np.asarray(0.3, dtype) if np.dtype(dtype).kind == "f" else 0)
    image = nib.Nifti1Image(values.astype(dtype), affine)
    nib.save(image, tmp_path / "ct.nii")
    read = read_image(tmp_path / "ct.nii").hu
    assert read.dtype == np.int16 and read.dtype.isnative and read.flags.writeable and np.array_equal(read, hu)


def test_slope_and_intercept_are_applied(tmp_path):
    hu, affine = scan(np.eye(3))
    image = nib.Nifti1Image((hu.astype(np.int32) + 1024).astype(np.uint16), affine)
    image.header.set_slope_inter(1, -1024)
    nib.save(image, tmp_path / "ct.nii")
    raw = bytearray((tmp_path / "ct.nii").read_bytes())
    raw[112:120] = np.array([1, -1024], dtype="<f4").tobytes()
    raw[352:] = (hu.astype(np.int32) + 1024).astype("<u2").tobytes(order="F")
    (tmp_path / "ct.nii").write_bytes(raw)
    assert np.array_equal(read_image(tmp_path / "ct.nii").hu, hu)


def test_beyond_int16_is_clipped_and_told(tmp_path):
    hu, affine = scan(np.eye(3))
    hu = hu.astype(np.int32)
    hu[3, 3, 3] = 70000
    nib.save(nib.Nifti1Image(hu, affine), tmp_path / "ct.nii.gz")
    image = read_image(tmp_path / "ct.nii.gz")
    assert image.hu[3, 3, 3] == 32767 and any("clipped" in w for w in image.warnings)


def test_a_trailing_single_axis_is_dropped(tmp_path):
    hu, affine = scan(np.eye(3))
    nib.save(nib.Nifti1Image(hu[..., None], affine), tmp_path / "ct.nii.gz")
    assert np.array_equal(read_image(tmp_path / "ct.nii.gz").hu, hu)


def _nifti(change, name: str = "ct.nii.gz"):
    def write(folder: Path) -> Path:
        hu, affine = change(*scan(np.eye(3)))
        nib.save(nib.Nifti1Image(hu, affine), folder / name)
        return folder / name

    return write


def _unplaced(folder: Path) -> Path:
    hu, affine = scan(np.eye(3))
    image = nib.Nifti1Image(hu, affine)
    image.set_sform(None, 0)
    image.set_qform(None, 0)
    nib.save(image, folder / "ct.nii.gz")
    return folder / "ct.nii.gz"


def _cut(folder: Path) -> Path:
    path = _nifti(lambda hu, a: (hu + np.random.default_rng(0).integers(0, 9, hu.shape).astype("i2"), a))(folder)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def _cut_plain(folder: Path) -> Path:
    path = _nifti(lambda hu, a: (hu, a), "ct.nii")(folder)
    path.write_bytes(path.read_bytes()[:5000])
    return path


def _nrrd(**fields: object):
    def write(folder: Path) -> Path:
        header = {"space": "left-posterior-superior", "space directions": np.diag(SPACING), "space origin": [0, 0, 0]}
        header = {k: v for k, v in (header | fields).items() if v is not None}
        nrrd.write(str(folder / "ct.nrrd"), scan(np.eye(3))[0], header)
        return folder / "ct.nrrd"

    return write


def _bytes(name: str, content: bytes):
    def write(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return write


REFUSED = {
    "missing": (lambda folder: folder / "none.nii.gz", "does not exist"),
    "empty folder": (lambda folder: folder, "holds no files"),
    "unknown kind": (_bytes("ct.mha", b"ObjectType = Image"), "no image that can be read"),
    "one DICOM file": (_bytes("a.dcm", b"\0" * 128 + b"DICM"), "a.dcm"),
    "empty file": (_bytes("ct.nii.gz", b""), "cannot be read as NIfTI"),
    "not gzip": (_bytes("ct.nii.gz", b"hello" * 100), "cannot be read as NIfTI"),
    "not NIfTI": (_bytes("ct.nii.gz", gzip.compress(b"hello" * 100)), "cannot be read as NIfTI"),
    "not NRRD": (_bytes("ct.nrrd", b"hello" * 100), "cannot be read as NRRD"),
    "cut": (_cut, "cut short"),
    "cut, plain": (_cut_plain, "cut short"),
    "4-D": (_nifti(lambda hu, a: (np.stack([hu, hu], -1), a)), "4-D"),
    "2-D": (_nifti(lambda hu, a: (hu[0], a)), "2-D"),
    "NaN": (_nifti(lambda hu, a: (np.where(hu > 1000, np.nan, hu).astype("f4"), a)), "NaN"),
    "MR": (_nifti(lambda hu, a: (hu + np.int16(1000), a)), "does not look like CT"),
    "sheared": (_nifti(lambda hu, a: (hu, a + np.eye(4, k=1) * 0.3)), "right angles"),
    "no orientation": (_unplaced, "states no orientation"),
    "NRRD without space": (_nrrd(space=None), "without 'space'"),
    "NRRD in scanner space": (_nrrd(space="scanner-xyz"), "scanner-xyz"),
    "NRRD with zero spacing": (_nrrd(**{"space directions": np.diag([0.0, 2, 3])}), "three positive"),
}


@pytest.mark.parametrize("write, told", REFUSED.values(), ids=REFUSED)
def test_bad_files_are_refused_in_one_line_with_their_name(write, told, tmp_path):
    path = write(tmp_path)
    with pytest.raises(InputError, match=told) as error:
        read_image(path)
    assert path.name in str(error.value) and "\n" not in str(error.value)
    if told in ("right angles", "states no orientation", "without 'space'"):
        assert isinstance(error.value, GeometryError)


def test_a_series_of_a_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="leave out --series"):
        read_image(_nifti(lambda hu, a: (hu, a))(tmp_path), series="3")


def test_warnings_count_other_files_and_name_no_patient(tmp_path):
    """They end in report.json; file and folder names may be a patient's name."""
    folder = tmp_path / "DOE^JOHN"
    shutil.copytree(DEMO_CT, folder)
    for name in ("DOE_JOHN_plan.txt", "DOE_JOHN.pdf", "sub/DOE.xml"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("no image")
    image = read_image(folder)
    (warning,) = [w for w in image.warnings if "not DICOM" in w]
    assert "3" in warning and not any("DOE" in w.upper() or "\n" in w or "\\n" in w for w in image.warnings)
