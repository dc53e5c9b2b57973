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
    """Measuring replaced by known seconds; what was asked is noted."""
    asked = SimpleNamespace()

    def in_turns(ct, rows, repeats, threads, device, tell, also):
        asked.ct, asked.repeats, asked.threads, asked.slices = ct, repeats, threads, len(list(ct.glob("*.dcm")))
        also()
        return {row.name: [] for row in rows}

    def summed_up(rows, turns):
        asked.engines = [row.engine for row in rows]
        return {"schema": 1, "machine": {}, "ct": {}, "rows": []}

    monkeypatch.setattr("oarseg.benchmark.run.in_turns", in_turns)
    monkeypatch.setattr("oarseg.benchmark.run.summed_up", summed_up)
    monkeypatch.setattr("oarseg.benchmark.table.markdown", lambda result: "the table\n")
    return asked


def test_a_synthetic_ct_by_default(fake, tmp_path, capsys):
    out = tmp_path / "b.json"
    assert benchmark("--size", "20,64,64", "--engines", "torch:fp32,torch", "--threads", 2, "-o", out) == 0
    assert (fake.slices, fake.repeats, fake.threads) == (20, 3, 2) and fake.engines == [None, "torch:fp32", "torch"]
    content = json.loads(out.read_text(encoding="utf-8"))
    assert content["machine"]["threads"] == 2 and content["ct"] == {"synthetic": True}
    told = capsys.readouterr()
    assert told.out == "the table\n" and "synthetic CT" in told.err and not fake.ct.exists()
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
        (["--whole"], "options of --nnunet"),
        (["--nnunet-python", "python"], "options of --nnunet"),
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
    told = capsys.readouterr()
    assert said in told.err and "Traceback" not in told.err and "making" not in told.err and not told.out
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_table_is_told_even_if_the_json_cannot_be_written(fake, tmp_path, capsys, monkeypatch):
    def full(path, text):
        raise OutputError("no space left")

    monkeypatch.setattr("oarseg.evaluation.scores.write_whole", full)
    assert benchmark("--ct", tmp_path, "-o", tmp_path / "b.json") == 2
    told = capsys.readouterr()
    assert told.out == "the table\n" and "no space left" in told.err


@pytest.mark.parametrize(
    ("device", "engines"), [("cpu", ["torch", "openvino"]), ("cuda", ["torch"]), ("cuda:1", ["torch"])]
)
def test_openvino_is_measured_on_the_cpu_alone(device, engines, fake, tmp_path, monkeypatch):
    monkeypatch.setattr("oarseg.inference.engines.openvino_core.installed", lambda: True)
    monkeypatch.setattr("oarseg.inference.engines.choose.installed", lambda: True)
    assert benchmark("--ct", tmp_path, "--device", device, "-q") == 0
    assert fake.engines == [None, *engines]


@pytest.mark.parametrize("text", ["1,2", "a,b,c", "1,64,64", "20,64,9000", "1000,2048,2048"])
def test_sizes_that_no_ct_has(text, capsys):
    assert benchmark("--size", text) == 2 and "argument --size" in capsys.readouterr().err
    assert size("20,64,64") == (20, 64, 64)


def test_help_has_examples(capsys):
    assert benchmark("--help") == 0
    said = capsys.readouterr().out
    for word in ("--nnunet", "--engines", "oarseg benchmark --models", "the ratio to it holds"):
        assert word in said
