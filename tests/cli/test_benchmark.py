"""``oarseg benchmark``: options, refusals, and what is written."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from oarseg.cli import main
from oarseg.cli.benchmark import size
from oarseg.errors import OutputError


def benchmark(*args: object) -> int:
    return main(["benchmark", *map(str, args)])


@pytest.fixture
def fake(monkeypatch):
    """Measuring replaced by known seconds; the options are recorded."""
    measured = SimpleNamespace()

    def in_turns(ct, rows, repeats, threads, device, progress):
        measured.ct, measured.repeats, measured.threads = ct, repeats, threads
        measured.slices = len(list(ct.glob("*.dcm")))
        return {row.name: [] for row in rows}

    def summed_up(rows, turns):
        measured.engines = [row.engine for row in rows]
        return {"schema": 1, "machine": {}, "ct": {}, "rows": []}

    monkeypatch.setattr("oarseg.benchmark.run.in_turns", in_turns)
    monkeypatch.setattr("oarseg.benchmark.run.summed_up", summed_up)
    monkeypatch.setattr("oarseg.benchmark.table.markdown", lambda result: "the table\n")
    return measured


def test_a_synthetic_ct_by_default(fake, tmp_path, capsys):
    out = tmp_path / "b.json"
    assert benchmark("--size", "20,64,64", "--engines", "torch:fp32,torch", "--threads", 2, "-o", out) == 0
    assert (fake.slices, fake.repeats, fake.threads) == (20, 3, 2) and fake.engines == [None, "torch:fp32", "torch"]
    content = json.loads(out.read_text(encoding="utf-8"))
    assert content["machine"]["threads"] == 2 and content["ct"] == {"synthetic": True}
    printed = capsys.readouterr()
    assert printed.out == "the table\n" and "synthetic CT" in printed.err and not fake.ct.exists()
    assert benchmark("--size", "20,64,64", "-o", out) == 2 and "--overwrite" in capsys.readouterr().err
    assert benchmark("--ct", tmp_path, "-o", out, "--overwrite", "-q", "--repeats", 1) == 0
    assert fake.ct == tmp_path and fake.repeats == 1 and capsys.readouterr().out == ""
    assert json.loads(out.read_text(encoding="utf-8"))["ct"] == {"synthetic": False}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--engines", "tvm"], "unknown engine 'tvm'"),
        (["--engines", "torch:int4"], "not in 'int4'"),
        (["--models", "nowhere"], "nowhere is not a bundle"),
        (["--ct", "nowhere"], "nowhere does not exist"),
        (["--repeats", "0"], "--repeats 0: expected 1 or more"),
        (["--threads", "-1"], "--threads -1: expected 1 or more"),
        (["--ct", "x", "--size", "20,64,64"], "leave it out with --ct"),
        (["-o", "."], "is a folder"),
        (["-o", "nowhere/b.json"], "nowhere/b.json cannot be written (No such file or directory)"),
        (["-o", "file/b.json"], "file/b.json cannot be written (Not a directory)"),
        (["-o", "/proc/b.json"], "/proc/b.json cannot be written"),
    ],
)
def test_refusals_are_one_line(options, said, capsys, tmp_path, monkeypatch):
    """And come before the work, even before the synthetic CT."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    assert benchmark(*options) == 2
    printed = capsys.readouterr()
    assert said in printed.err and "Traceback" not in printed.err and "making" not in printed.err and not printed.out
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_table_is_told_even_if_the_json_cannot_be_written(fake, tmp_path, capsys, monkeypatch):
    def full(path, text):
        raise OutputError("no space left")

    monkeypatch.setattr("oarseg.files.write_json", full)
    assert benchmark("--ct", tmp_path, "-o", tmp_path / "b.json") == 2
    printed = capsys.readouterr()
    assert printed.out == "the table\n" and "no space left" in printed.err


@pytest.mark.parametrize(
    ("device", "engines"), [("cpu", ["torch", "openvino"]), ("cuda", ["torch"]), ("cuda:1", ["torch"])]
)
def test_openvino_is_measured_on_the_cpu_alone(device, engines, fake, tmp_path, monkeypatch):
    monkeypatch.setattr("oarseg.requires.installed", lambda package: True)
    monkeypatch.setattr("oarseg.inference.engines.choose.installed", lambda package: True)
    assert benchmark("--ct", tmp_path, "--device", device, "-q") == 0
    assert fake.engines == [None, *engines]


@pytest.mark.parametrize("text", ["1,2", "a,b,c", "1,64,64", "20,64,9000", "1000,2048,2048"])
def test_sizes_that_no_ct_has(text, capsys):
    assert benchmark("--size", text) == 2 and "argument --size" in capsys.readouterr().err
    assert size("20,64,64") == (20, 64, 64)


def test_help_has_examples(capsys):
    assert benchmark("--help") == 0
    said = capsys.readouterr().out
    for word in ("--engines", "oarseg benchmark --models", "the ratio to it holds"):
        assert word in said
