"""One run after another: what is done stays, what changed is made again, what fails is told of and left out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from oarseg.cli import convert as command
from oarseg.cli import main
from oarseg.datasets import load_datalist
from oarseg.datasets.convert import SETS, convert, plan
from oarseg.datasets.convert.split import missing, section
from oarseg.errors import ConfigError, OarsegError, OutputError
from oarseg.sites import load_site

SITE = load_site()
SHAPE = (28, 30, 26)


@pytest.fixture
def source(phantom, tmp_path) -> Path:
    """Three cases of StructSeg."""
    affine = phantom.lps_affine((6.5, 7, 6.5), SHAPE)
    hu, label = phantom.draw(SHAPE, affine)
    values = {1: 9, 4: 21, 7: 13, 8: 14}
    drawn = sum((label == organ) * value for organ, value in values.items()).astype(np.uint8)
    for case in "123":
        (tmp_path / "in" / case).mkdir(parents=True)
        nib.save(nib.Nifti1Image(hu, affine), tmp_path / "in" / case / "data.nii.gz")
        nib.save(nib.Nifti1Image(drawn, affine), tmp_path / "in" / case / "label.nii.gz")
    return tmp_path / "in"


def listed(out: Path) -> set[str]:
    content = json.loads((out / "dataset.json").read_text())
    return {row["patient"] for part in ("training", "validation") for row in content[part]}


def spoil(path: Path, change: Callable[[nib.Nifti1Image], tuple[np.ndarray, np.ndarray]]) -> None:
    image = nib.load(path)
    array, affine = change(image)
    nib.save(nib.Nifti1Image(np.ascontiguousarray(array), affine), path)


def test_a_second_run_does_what_is_left_and_what_changed(source, tmp_path):
    out = tmp_path / "out"
    shutil.move(source / "3", tmp_path / "3")
    assert len(plan("structseg", source, out, SITE).todo) == 2 and not out.exists()
    convert(plan("structseg", source, out, SITE))
    assert listed(out) == {"structseg_1", "structseg_2"}
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*.nii.gz")}
    shutil.move(tmp_path / "3", source / "3")
    spoil(source / "2" / "label.nii.gz", without_right_parotid)
    (out / "images" / "structseg_1.nii.gz").unlink()
    work = plan("structseg", source, out, SITE)
    assert [case.name for case, _ in work.todo] == ["structseg_1", "structseg_2", "structseg_3"]
    (out / "images" / "structseg_1.nii.gz").write_bytes(b"")
    work = plan("structseg", source, out, SITE)
    assert [case.name for case, _ in work.todo] == ["structseg_2", "structseg_3"]
    convert(work)
    assert plan("structseg", source, out, SITE).todo == () and len(listed(out)) == 3
    changed = {p.name for p, time in before.items() if p.stat().st_mtime_ns != time}
    assert changed == {"structseg_1.nii.gz", "structseg_2.nii.gz"}
    rows = json.loads((out / "conversion.json").read_text())["cases"]
    assert "parotid_right" not in rows["structseg_2"]["row"]["labelled"]
    shutil.rmtree(source / "2")
    outcome = convert(plan("structseg", source, out, SITE))
    assert listed(out) == {"structseg_1", "structseg_3"} and "no longer in the source" in " ".join(outcome.notes)


def without_right_parotid(image: nib.Nifti1Image) -> tuple[np.ndarray, np.ndarray]:
    label = np.asarray(image.dataobj)
    return label * (label != 14), image.affine


def other_grid(image: nib.Nifti1Image) -> tuple[np.ndarray, np.ndarray]:
    return np.asarray(image.dataobj), image.affine + np.diag([0.5, 0, 0, 0])


@pytest.mark.parametrize(
    "file, change, said",
    [
        ("label", other_grid, "another grid than the image's"),
        ("label", lambda i: (np.asarray(i.dataobj)[::-1], i.affine), "labels are exchanged"),
        ("label", lambda i: (np.asarray(i.dataobj) * 0, i.affine), "no organ of the table has a voxel"),
        ("data", lambda i: (np.asarray(i.dataobj) + 1500, i.affine), "does not look like CT in HU"),
        ("data", lambda i: (np.asarray(i.dataobj)[..., None].repeat(2, -1), i.affine), "4-D image"),
        ("data", lambda i: (np.asarray(i.dataobj), i.affine + [[0, 3, 0, 0], *[[0] * 4] * 3]), "not at right angles"),
    ],
)
def test_a_case_that_fails_is_left_out_whole(source, file, change, said, tmp_path):
    out = tmp_path / "out"
    convert(plan("structseg", source, out, SITE))
    spoil(source / "2" / f"{file}.nii.gz", change)
    outcome = convert(plan("structseg", source, out, SITE))
    assert list(outcome.failed) == ["structseg_2"] and said in outcome.failed["structseg_2"]
    assert "\n" not in outcome.failed["structseg_2"]
    assert listed(out) == {"structseg_1", "structseg_3"}
    assert {p.name for p in out.rglob("*") if p.is_file() and "2" in p.name} == set()
    for part in ("training", "validation"):
        if json.loads((out / "dataset.json").read_text())[part]:
            load_datalist(out, part)


@pytest.mark.parametrize("damage", [b"", b"\x1f\x8b\x08\x00 not gzip", None])
def test_damaged_and_missing_files(source, damage, tmp_path):
    path = source / "1" / "label.nii.gz"
    path.write_bytes(path.read_bytes()[:200] if damage is None else damage)
    (source / "3" / "label.nii.gz").unlink()
    outcome = convert(plan("structseg", source, tmp_path / "out", SITE))
    assert set(outcome.failed) == {"structseg_1", "structseg_3"} and listed(tmp_path / "out") == {"structseg_2"}
    assert "label.nii.gz" in outcome.failed["structseg_1"] and "without label" in outcome.failed["structseg_3"]


def test_other_settings_and_other_folders_are_refused(source, tmp_path):
    out = tmp_path / "out"
    convert(plan("structseg", source, out, SITE))
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    shutil.copytree(source, tmp_path / "in2")
    for options, said in (
        ({"seed": 2}, "seed was 0, now 2"),
        ({"validation": 0.5}, "validation was 0.15, now 0.5"),
        ({"source": tmp_path / "in2"}, "source was"),
        ({"validation": 1.0}, "expected a share"),
        ({"validation": float("nan")}, "expected a share"),
        ({"names": source}, "leave out --names"),
        ({"numbers": source}, "leave out --map"),
        ({"out": source / "out"}, "within each other"),
        ({"source": tmp_path}, "within each other"),
        ({"out": tmp_path / "in2"}, "no conversion"),
        ({"out": source / "1" / "data.nii.gz"}, "within each other"),
        ({"set_name": "kits"}, "there are: pddca"),
    ):
        with pytest.raises(OarsegError, match=said):
            plan(**({"set_name": "structseg", "source": source, "out": out, "site": SITE} | options))
    for damaged in ('{"settings": {}, "cases": {"a": 1}}', '{"settings": null, "cases": {}}'):
        (out / "conversion.json").write_text(damaged)
        with pytest.raises(ConfigError, match="conversion.json is no JSON record"):
            plan("structseg", source, out, SITE)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="is a file"):
        plan("structseg", source, tmp_path / "file", SITE)
    del before[out / "conversion.json"]
    assert before == {p: p.read_bytes() for p in before}


def test_a_disk_that_is_full_ends_the_run_and_leaves_nothing_half(source, tmp_path, monkeypatch):
    out, save = tmp_path / "out", nib.save

    def full(image: nib.Nifti1Image, path: Path) -> None:
        save(image, path)
        if path.parent.name == "images" and path.name.endswith("2.nii.gz"):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("oarseg.images.nifti.nib.save", full)
    with pytest.raises(OutputError, match="no space left"):
        convert(plan("structseg", source, out, SITE))
    assert listed(out) == {"structseg_1"}
    assert {p.name for p in out.rglob("*.nii.gz")} == {"structseg_1.nii.gz"}
    monkeypatch.undo()
    convert(plan("structseg", source, out, SITE))
    assert len(listed(out)) == 3


def test_two_cases_of_one_name(source, tmp_path):
    shutil.copytree(source / "1", source / "again" / "1")
    with pytest.raises(OarsegError, match="'structseg_1' twice"):
        plan("structseg", source, tmp_path / "out", SITE)


def test_the_split_is_by_patient_and_seed_and_moves_nobody():
    patients = [f"p{i:04d}" for i in range(2000)]
    first = [section(p, 0, 0.2) for p in patients]
    assert 330 < first.count("validation") < 470
    other = [section(p, 1, 0.2) for p in patients]
    assert other != first and first == [section(p, 0, 0.2) for p in patients]
    # A larger share moves patients to validation only.
    more = [section(p, 0, 0.3) for p in patients]
    assert all(b == "validation" for a, b in zip(first, more, strict=True) if a == "validation")
    assert {section(p, 0, 0.0) for p in patients} == {"training"}
    assert missing(["training"], 0.2) and missing(["validation"], 0.2)
    assert not missing(["training"], 0) and not missing(["training", "validation"], 0.2) and not missing([], 0.2)


def test_the_command(source, tmp_path, capsys):
    out = tmp_path / "out"
    args = ["convert", "structseg", str(source), str(out), "--seed", "3"]
    assert main([*args, "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "3 case(s), 3 to convert" in said and "licence: no published licence" in said and not out.exists()
    assert "value 13 -> Parotid_L (parotid_left): 3" in said
    assert main(args) == 0
    said = capsys.readouterr().out
    assert "labelled: brainstem 3, eye_left 0" in said and "overlaps, given to the smaller organ: 0 voxels" in said
    (source / "2" / "data.nii.gz").write_bytes(b"")
    assert main([*args, "-q"]) == 1
    heard = capsys.readouterr()
    assert "oarseg: structseg_2 left out: data.nii.gz" in heard.err and heard.out == ""
    assert main([*args[:-1], "4"]) == 2 and "seed was 3, now 4" in capsys.readouterr().err
    assert tuple(SETS) == command.SETS


def test_an_interrupted_run_goes_on(source, tmp_path, capsys, monkeypatch):
    from oarseg.datasets.convert import run

    write, out = run._write_case, tmp_path / "out"

    def interrupted(case, *rest):
        if case.name == "structseg_2":
            raise KeyboardInterrupt
        return write(case, *rest)

    monkeypatch.setattr(run, "_write_case", interrupted)
    assert main(["convert", "structseg", str(source), str(out), "-q"]) == 130
    assert "goes on" in capsys.readouterr().err and listed(out) == {"structseg_1"}
    monkeypatch.undo()
    assert main(["convert", "structseg", str(source), str(out), "-q"]) == 0 and len(listed(out)) == 3
