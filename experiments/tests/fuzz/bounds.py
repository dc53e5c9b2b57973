"""Tests of what bounds a reader's time and memory, which bounds all threads of the process; see ``test_fuzz.py``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from experiments.benchmarks.fuzz import fresh
from experiments.benchmarks.fuzz_property import Broken, Hang, _in_memory, _in_time, holds
from oarseg.errors import InputError


def test_the_property_itself_can_fail(tmp_path: Path) -> None:
    work = fresh(tmp_path / "work")

    def raises(error: BaseException) -> Callable[[], None]:
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


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="address space is bounded on Linux only")
def test_memory_is_bounded() -> None:
    with pytest.raises(MemoryError), _in_memory(64):
        bytes(1 << 28)
    assert len(bytes(1 << 28)) == 1 << 28
