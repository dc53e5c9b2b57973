"""The readers on damaged and hostile files: the same few each time; the fuzz run itself goes on for hours."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("hypothesis", reason="needs hypothesis: pip install 'oarseg[test]'")
pytest.importorskip("pydicom.pixels", reason="pydicom 2 does not compress the slices that this begins with")
pytest.importorskip("openjpeg", reason="needs pylibjpeg-openjpeg")

from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[3]
TARGETS = ("series", "rtstruct", "packed", "json", "csv", "toml", "zip")
INPUTS = 100


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
    """What the run stores, in a process of its own: it bounds the memory of all threads."""
    folder = tmp_path_factory.mktemp("fuzz")
    command = [sys.executable, "-m", "experiments.benchmarks.fuzz", "--inputs", str(INPUTS)]
    command += ["--store", str(folder / "stored.json")]
    command += ["--failures", str(folder / "failures")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1800)
    # Findings end it with 1, and have rows of their own below.
    assert done.returncode in (0, 1) and (folder / "stored.json").exists(), f"{done.returncode}\n{done.stderr[-4000:]}"
    return json.loads((folder / "stored.json").read_text())["targets"]


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_a_result_or_one_error(name: str, stored: dict[str, dict]) -> None:
    outcomes = stored[name]["outcomes"]
    assert stored[name]["findings"] == {}
    # Files that are read, and files that are refused: neither are the changes too many, nor too few.
    assert sum(outcomes.values()) >= INPUTS and "read" in outcomes and len(outcomes) > 1


@pytest.mark.slow
def test_every_target_is_tried(stored: dict[str, dict]) -> None:
    from experiments.benchmarks.fuzz_targets import TARGETS as known

    assert set(TARGETS) == set(known) == set(stored)


@pytest.mark.slow
def test_bounds_of_time_and_memory() -> None:
    """``bounds.py`` in a process of its own: a bound, and the signal of time over, are of all threads of a process."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "experiments/tests/fuzz/bounds.py"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and " passed" in done.stdout, done.stdout + done.stderr


def test_shrunk_inputs_are_kept(tmp_path) -> None:
    """A reader that fails on one value: the run notes it once, and puts what it was given into a folder."""
    from experiments.benchmarks.fuzz import Run
    from experiments.benchmarks.fuzz_targets import Target

    def read(drawn: int, work) -> str:
        (work / "in" / "number").write_text(str(drawn))
        if drawn > 40:
            raise KeyError("too large")
        return "read"

    run = Run(Target("numbers", "numbers", st.integers(0, 1000), read), 2.0, 1, tmp_path / "failures")
    run.go(tmp_path / "work")
    assert len(run.findings) == 1 and "KeyError" in next(iter(run.findings)) and run.outcomes["read"] > 10
    (kept,) = (tmp_path / "failures").iterdir()
    assert (kept / "number").read_text() == "41" and "seed" in (kept / "traceback.txt").read_text()
