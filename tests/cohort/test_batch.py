"""``oarseg batch`` with Ray: what it writes, failures, a kill in the middle, a worker that dies."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from shared_ray import start_ray, stop_ray

from oarseg.cli import main
from oarseg.cohort.journal import JOURNAL, OWN_FILES, Journal, claim, locked
from oarseg.cohort.summary import page, table
from oarseg.errors import ConfigError, OutputError
from oarseg.sites import load_site

pytestmark = pytest.mark.slow

SITE = load_site()
ray = pytest.mark.skipif(__import__("importlib.util").util.find_spec("ray") is None, reason="ray is not installed")


@pytest.fixture
def cohort(tmp_path: Path, phantom) -> Path:
    """Three CTs and a damaged file."""
    folder = tmp_path / "in"
    folder.mkdir()
    for n in range(3):
        affine = phantom.lps_affine()
        affine[2, 3] += n
        nib.save(nib.Nifti1Image(phantom.draw(phantom.shape, affine)[0], affine), folder / f"ct{n}.nii.gz")
    (folder / "torn.nii.gz").write_bytes((folder / "ct0.nii.gz").read_bytes()[:5000])
    return folder


def rows(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / JOURNAL).read_text().splitlines()]


@ray
@pytest.mark.slow
def test_contours_all_it_can_and_goes_on_where_it_stopped(cohort, tmp_path, phantom, capsys):
    # The command starts Ray itself.
    stop_ray()
    out = tmp_path / "out"
    command = ["batch", str(cohort), "-o", str(out), "--workers", "2", "--organs", "mandible,brainstem"]
    assert main(command) == 1
    said = capsys.readouterr()
    assert "3 contoured" in said.out and "1 case(s) failed" in said.err and "not a medical device" in said.err
    assert {p.name for p in out.iterdir()} == {*OWN_FILES, "ct0", "ct1", "ct2"}
    for n in range(3):
        result = nib.load(out / f"ct{n}" / "segmentation.nii.gz")
        np.testing.assert_allclose(result.affine, nib.load(cohort / f"ct{n}.nii.gz").affine, atol=1e-4)
    found = {row["case"]: row for row in csv.DictReader((out / "cases.csv").open())}
    assert found["torn"]["status"] == "failed" and "torn.nii.gz" in found["torn"]["reason"]
    assert found["ct1"]["status"] == "done" and list(found) == ["ct0", "ct1", "ct2", "torn"]
    assert 'href="ct1/report.html"' in (out / "index.html").read_text()
    page = (out / "ct1" / "report.html").read_text()
    assert "<title>oarseg: ct1</title>" in page and 'href="../index.html"' in page
    assert found["ct1"]["computed_by"].split()[0] in ("openvino", "torch")
    # The same command again does nothing twice; it tries again what failed, now mended, and contours another CT of the
    # same name anew.
    (cohort / "torn.nii.gz").write_bytes((cohort / "ct0.nii.gz").read_bytes())
    affine = phantom.lps_affine((3, 3, 4))
    nib.save(nib.Nifti1Image(phantom.draw(phantom.shape, affine)[0], affine), cohort / "ct1.nii.gz")
    before = {p: p.stat().st_mtime_ns for p in out.glob("ct[02]/report.json")}
    assert main([*command, "-q"]) == 0
    # Nor does Ray say anything.
    assert capsys.readouterr() == ("", "")
    assert {p: p.stat().st_mtime_ns for p in out.glob("ct[02]/report.json")} == before and len(before) == 2
    assert sorted(row["case"] for row in rows(out)[4:]) == ["ct1", "torn"]
    np.testing.assert_allclose(nib.load(out / "ct1" / "segmentation.nii.gz").affine, affine, atol=1e-4)
    # Neither other settings nor another cohort are mixed in.
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "ct1.nii.gz").write_bytes((cohort / "ct0.nii.gz").read_bytes())
    other_input = ["batch", str(tmp_path / "other"), *command[2:]]
    for other, key in (([*command[:-1], "mandible"], "organs"), (other_input, "input")):
        assert main([*other, "-q"]) == 2
        assert f"other settings ({key})" in capsys.readouterr().err


def test_one_batch_at_a_time(tmp_path):
    pytest.importorskip("fcntl")
    with locked(tmp_path), pytest.raises(ConfigError, match="another oarseg batch is at work"), locked(tmp_path):
        pass
    with locked(tmp_path):
        pass


def test_shares_fit_each_machine():
    from oarseg.cohort.run import _share

    assert _share([2], 2) == 1 and _share([16], 3) == 5 and _share([3, 3], 3) == 1 and _share([8, 2], 3) == 2
    assert _share([4], 1) == 4 and _share([1], 1) == 1


@ray
@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_kill_loses_nothing_and_repeats_nothing(cohort, tmp_path):
    out = tmp_path / "out"
    command = ["batch", str(cohort), "-o", str(out), "--workers", "1", "--organs", "mandible", "-q"]
    running = subprocess.Popen([sys.executable, "-m", "oarseg.cli", *command], cwd=tmp_path, start_new_session=True)
    try:
        until = time.monotonic() + 240
        while not ((out / JOURNAL).exists() and rows(out)):
            assert running.poll() is None and time.monotonic() < until
            time.sleep(0.05)
    finally:
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()
    first = rows(out)
    # As a kill within a line leaves it.
    with open(out / JOURNAL, "a") as file:
        file.write('{"case": "ct')
    start_ray()
    assert main(command) == 1
    after = [json.loads(line) for line in (out / JOURNAL).read_text().splitlines() if line.endswith("}")]
    assert after[: len(first)] == first
    finished = [row["case"] for row in after if row["status"] == "done"]
    assert sorted(finished) == ["ct0", "ct1", "ct2"]
    assert not list(out.glob(".oarseg-*"))


@ray
@pytest.mark.slow
def test_a_worker_that_dies_is_replaced(cohort, shared_ray, tmp_path, monkeypatch):
    from oarseg.cohort import Options, find_cases, run_cohort
    from oarseg.cohort import run as module

    class Dying:
        """Ends its process at one case, and answers at the others."""

        def __init__(self, settings):
            pass

        def segment(self, case, out):
            if case.source.endswith("ct1.nii.gz"):
                os._exit(9)
            Path(out).mkdir()
            (Path(out) / "report.json").write_text("{}")
            return {"status": "done", "seconds": 0.1}

    monkeypatch.setattr(module, "CohortWorker", Dying)
    outcome = run_cohort(find_cases(cohort), cohort, tmp_path / "out", Options(workers=1))
    assert (outcome.done, outcome.failed) == (3, 1)
    assert "ended 2 times" in outcome.rows["ct1"]["reason"]
    # The Ray that ran before is left running.
    assert sys.modules["ray"].is_initialized()


def test_says_how_to_get_ray(cohort, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(["batch", str(cohort), "-o", str(tmp_path / "out"), "-q"]) == 2
    assert "pip install 'oarseg[cluster]'" in capsys.readouterr().err and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "options, told",
    [(["--workers", "-1"], "--workers"), (["--organs", "liver"], "liver"), (["--engine", "x"], "x"),
     (["--format", "png"], "--format takes")],
)  # fmt: skip
def test_bad_options(cohort, tmp_path, capsys, options, told):
    assert main(["batch", str(cohort), "-o", str(tmp_path / "out"), "-q", *options]) == 2
    assert told in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_nothing_to_do_leaves_nothing(tmp_path, capsys):
    (tmp_path / "in").mkdir()
    for given, told in ((tmp_path / "in", "no CT in"), (tmp_path / "none", "does not exist"), ("", "empty")):
        assert main(["batch", str(given), "-o", str(tmp_path / "out"), "-q"]) == 2
        assert told in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_a_folder_of_somebody_else_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(OutputError, match="not empty"):
        claim(tmp_path, {"engine": "auto"})
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "batch.json").write_text("{torn")
    with pytest.raises(ConfigError, match="damaged"):
        claim(tmp_path / "b", {"engine": "auto"})


def test_a_journal_survives_odd_lines(tmp_path):
    (tmp_path / JOURNAL).write_bytes(b'{"case": "a", "status": "done"}\nnull\n[1]\n\xff\n{"case": "b", "status": "fai')
    journal = Journal(tmp_path)
    assert list(journal.rows) == ["a"] and journal.row_of("a", "") is None
    journal.add({"case": "b", "status": "failed", "reason": "x"})
    assert Journal(tmp_path).rows["b"]["reason"] == "x"


def test_summaries_hold_what_is_given_as_text():
    given = [
        {"case": "=1+1", "status": "failed", "reason": "<script>"},
        {"case": "a b", "status": "done", "seconds": 1.0, "volumes_cm3": {"mandible": 500.0}, "missing": ["brainstem"]},
    ]
    text = table(given, ["brainstem", "mandible"])
    assert "'=1+1" in text and "500.0" in text
    shown = page(given, ["brainstem", "mandible"], SITE)
    assert "&lt;script&gt;" in shown and "<script>" not in shown
    assert '<td class="odd">500.0</td>' in shown and 'href="a%20b/report.html"' in shown
