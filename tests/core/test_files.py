"""Files that are written whole or not at all."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from oarseg.errors import ConfigError, GeometryError, InputError, OutputError
from oarseg.files import reading_file, reading_json, whole_file, write_bytes, write_json, write_text, writing


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0o027)
    yield
    os.umask(before)


def test_text_bytes_and_json_are_written_as_they_are(tmp_path: Path) -> None:
    write_text(tmp_path / "a" / "b" / "text", "Größe\r\n\n")
    write_bytes(str(tmp_path / "bytes"), b"\x00\xff\r\n")
    write_json(tmp_path / "rows.json", {"organ": ["eye_left", 1.5, None]})
    assert (tmp_path / "a/b/text").read_bytes() == "Größe\r\n\n".encode()
    assert (tmp_path / "bytes").read_bytes() == b"\x00\xff\r\n"
    text = (tmp_path / "rows.json").read_text()
    assert json.loads(text) == {"organ": ["eye_left", 1.5, None]} and text.endswith("}\n")


@pytest.mark.parametrize(
    ("error", "expected", "words"),
    [
        (KeyError("patient"), InputError, "a.nii cannot be read as NIfTI (KeyError: 'patient')"),
        (FileNotFoundError(errno.ENOENT, "No such file"), InputError, "a.nii does not exist"),
        (PermissionError(errno.EACCES, "Permission denied"), InputError, "Permission denied"),
        (MemoryError(), InputError, "a.nii does not fit"),
        (GeometryError("gap"), GeometryError, "gap"),
    ],
)
def test_whatever_a_library_raises_names_the_file(error: Exception, expected: type, words: str) -> None:
    with pytest.raises(expected) as caught, reading_file(Path("in/a.nii"), "NIfTI"):
        raise error
    assert words in str(caught.value)
    with pytest.raises(expected) as caught, reading_file(Path("in/a.nii"), "NIfTI", quote=False):
        raise error
    assert "patient" not in str(caught.value)


def test_json_that_is_missing_is_another_error_than_one_that_is_malformed() -> None:
    for error, expected in ((FileNotFoundError(errno.ENOENT, "none"), InputError), (KeyError("a"), ConfigError)):
        with pytest.raises(expected, match="a.json.*put it back"), reading_json(Path("a.json"), "list", "put it back"):
            raise error


@pytest.mark.parametrize("error", [RuntimeError("bad"), KeyboardInterrupt(), OSError(errno.EIO, "Input/output error")])
def test_a_failure_leaves_the_old_file_and_no_temporary_one(error: BaseException, tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    path.write_text("old")
    expected = OutputError if isinstance(error, OSError) else type(error)
    with pytest.raises(expected), whole_file(path) as temporary:
        temporary.write_text("half of the n")
        raise error
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["scores.csv"]


def test_nothing_is_seen_under_the_name_before_the_end(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    with whole_file(path) as temporary:
        temporary.write_text("new")
        assert not path.exists() and temporary.parent == tmp_path and temporary.name.startswith(".")
    assert path.read_text() == "new" and [p.name for p in tmp_path.iterdir()] == ["scores.csv"]


def test_the_temporary_name_keeps_the_end_by_which_libraries_choose_the_format(tmp_path: Path) -> None:
    with whole_file(tmp_path / "label.nii.gz") as temporary:
        nib.save(nib.Nifti1Image(np.ones((2, 3, 4), np.uint8), np.eye(4)), temporary)
    assert (tmp_path / "label.nii.gz").read_bytes()[:2] == b"\x1f\x8b"
    assert nib.load(tmp_path / "label.nii.gz").shape == (2, 3, 4)


@pytest.mark.usefixtures("umask")
@pytest.mark.parametrize("mode, expected", [(0o666, 0o640), (0o600, 0o600)])
def test_permissions_follow_the_umask(mode: int, expected: int, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("old")
    path.chmod(0o777)
    with whole_file(path, mode=mode) as temporary:
        assert temporary.stat().st_mode & 0o777 == expected
        temporary.write_text("new")
    assert path.stat().st_mode & 0o777 == expected


def test_a_durable_file_and_then_its_folder_are_flushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed = []
    monkeypatch.setattr(os, "fsync", lambda handle: flushed.append(os.fstat(handle).st_ino))
    write_text(tmp_path / "quick", "x")
    assert flushed == []
    write_text(tmp_path / "safe", "x", durable=True)
    assert flushed == [(tmp_path / "safe").stat().st_ino, tmp_path.stat().st_ino]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_named_with_the_place(number: int, tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    with pytest.raises(OutputError, match="scores.csv.*no space left"), whole_file(path):
        raise OSError(number, os.strerror(number))
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_is_a_file_or_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="file/scores.csv"):
        write_text(tmp_path / "file" / "scores.csv", "x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match="folder cannot be written"):
        write_text(tmp_path / "folder", "x")
    with pytest.raises(OutputError, match="^/ cannot be written"):
        write_text("/", "x")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]


def test_names_that_are_no_utf_8_and_names_as_long_as_the_system_takes(tmp_path: Path) -> None:
    odd, long = os.fsdecode(b"Doe\xff^Jane\xfe.csv"), "ä" * 125 + ".csv"
    for name in (odd, long):
        write_text(tmp_path / name, name[-4:])
        assert (tmp_path / name).read_text() == ".csv"
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([odd, long])
    with pytest.raises(OutputError, match="File name too long"):
        write_text(tmp_path / ("a" * 300), "x")


def test_writing_names_the_place_and_the_reason_and_lets_other_errors_through() -> None:
    with pytest.raises(OutputError, match="out cannot be written .Permission denied."), writing("out"):
        raise PermissionError(errno.EACCES, "Permission denied")
    with pytest.raises(OutputError, match="OSError"), writing("out"):
        raise OSError
    with pytest.raises(ValueError, match="other"), writing("out"):
        raise ValueError("other")
