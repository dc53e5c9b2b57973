"""``oarseg series``: what could be contoured, without a patient's name."""

from __future__ import annotations

from pathlib import Path

import pytest

from oarseg.cli import main


def test_lists_every_ct_series_of_a_folder(tmp_path: Path, write_ct, capsys) -> None:
    def named(item) -> None:
        item.PatientName, item.PatientID = "Secret^Name", "4711"
        item.SeriesDescription = "planning"

    write_ct(tmp_path / "a", 4, named)
    write_ct(tmp_path / "b", 9)
    (tmp_path / "notes.txt").write_text("x")
    assert main(["series", str(tmp_path)]) == 0
    shown = capsys.readouterr()
    first, second = shown.out.splitlines()
    assert "series 4 ('planning')" in first and "series 9" in second and "UID" in first
    assert "1 file(s) ignored" in shown.err
    assert not any(word in shown.out + shown.err for word in ("Secret", "4711"))


@pytest.mark.parametrize(
    "options, said",
    [
        ([], "give either INPUT"),
        (["in", "--dicomweb", "http://127.0.0.1:9"], "give either INPUT"),
        (["--dicomweb", "http://127.0.0.1:9"], "--query all"),
        (["missing"], "missing"),
    ],
)
def test_bad_options(options: list[str], said: str, capsys) -> None:
    assert main(["series", *options]) == 2
    assert said in capsys.readouterr().err


def test_a_folder_without_a_ct(tmp_path: Path, capsys) -> None:
    (tmp_path / "notes.txt").write_text("x")
    assert main(["series", str(tmp_path)]) == 2
    assert "holds no CT" in capsys.readouterr().err
