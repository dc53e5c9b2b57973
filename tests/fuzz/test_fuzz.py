"""The readers on damaged and hostile files: the same few each time; ``benchmarks/fuzz.py`` goes on for hours."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("hypothesis", reason="needs hypothesis: pip install 'oarseg[test]'")
pytest.importorskip("pydicom.pixels", reason="pydicom 2 does not compress the slices that this begins with")
pytest.importorskip("openjpeg", reason="needs pylibjpeg-openjpeg")

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"

EXAMPLES = {"series": 30, "rtstruct": 50, "packed": 60, "json": 80, "csv": 60, "toml": 60, "zip": 50}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", EXAMPLES)
def test_a_result_or_one_error(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    from fuzz import fresh
    from fuzz_targets import TARGETS

    work = tmp_path_factory.mktemp(name) / "work"
    outcomes = set()

    @settings(
        max_examples=EXAMPLES[name], deadline=None, database=None, derandomize=True,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(TARGETS[name].draw)
    def holds(drawn: object) -> None:
        outcomes.add(TARGETS[name].read(drawn, fresh(work)))

    holds()
    # Files that are read, and files that are refused: neither are the changes too many, nor too few.
    assert "read" in outcomes and len(outcomes) > 1


def test_every_target_is_tried() -> None:
    from fuzz_targets import TARGETS

    assert set(EXAMPLES) == set(TARGETS)


def test_the_property_itself_can_fail(tmp_path) -> None:
    from fuzz import fresh
    from fuzz_property import Broken, Hang, _in_time, holds

    from oarseg.errors import InputError

    work = fresh(tmp_path / "work")

    def raises(error: BaseException):
        def read() -> None:
            raise error

        return read

    assert holds(lambda: None, work) == "read" and holds(raises(InputError("why")), work) == "InputError"
    with pytest.raises(ValueError, match="no"):
        holds(raises(ValueError("no")), work)
    with pytest.raises(Broken, match="without words"):
        holds(raises(InputError("")), work)
    with pytest.raises(Broken, match="outside of the output folder"):
        holds(lambda: (work / "evil").write_text(""), work)
    with pytest.raises(Broken, match="outside of the output folder"):
        holds(lambda: (fresh(work) / "in" / "evil").write_text(""), work)

    def endless() -> None:
        while True:
            try:
                while True:
                    pass
            except Exception:
                continue

    with pytest.raises(Hang), _in_time(0.2):
        endless()


def test_memory_is_bounded() -> None:
    """In a process of its own: of this one's threads any might ask for memory meanwhile, and end all tests."""
    if not sys.platform.startswith("linux"):
        pytest.skip("address space is bounded on Linux only")
    program = """if True:
        from fuzz_property import _in_memory
        try:
            with _in_memory(64):
                bytes(1 << 28)
        except MemoryError:
            print("bounded", len(bytes(1 << 28)) == 1 << 28)
    """
    told = subprocess.run([sys.executable, "-c", program], cwd=BENCHMARKS, capture_output=True, text=True, check=True)
    assert told.stdout == "bounded True\n"


def test_shrunk_inputs_are_kept(tmp_path) -> None:
    """A reader that fails on one value: the run notes it once, and puts what it was given into a folder."""
    from fuzz import Run
    from fuzz_targets import Target

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
