"""Peak memory, hashes in place of names, and names that are imported on first use."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings

import pytest

from oarseg.identity import short_hash, uid_hash
from oarseg.lazy import lazy_names
from oarseg.process import peak_memory_mib, without_warnings

UID = "1.2.840.113619.2.1"


def test_the_peak_is_this_process_s_own_and_grows_with_what_it_holds() -> None:
    before = peak_memory_mib()
    held = b"x" * (int(before) << 20 | 64 << 20)
    grown = peak_memory_mib()
    assert len(held) and before + 60 < grown
    # A child starts small, however large its parent is.
    child = "from oarseg.process import peak_memory_mib; print(peak_memory_mib())"
    printed = subprocess.run([sys.executable, "-c", child], capture_output=True, text=True, check=True).stdout
    assert 1 < float(printed) < grown - 50


@pytest.mark.parametrize("unit, system", [(1 << 10, "linux"), (1 << 20, "darwin")])
def test_the_peak_without_proc(unit: int, system: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    def no_proc(*args: object, **kwargs: object) -> None:
        raise FileNotFoundError

    usage = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    monkeypatch.setattr("builtins.open", no_proc)
    monkeypatch.setattr(sys, "platform", system)
    assert peak_memory_mib() == pytest.approx(usage / unit, rel=0.1)


def test_hashes_name_a_series_and_tell_parts_apart() -> None:
    assert uid_hash(UID).startswith(short_hash(UID)) and len(short_hash(UID)) == 16
    assert short_hash("a", "b") != short_hash("ab") and short_hash("a", "b") != short_hash("b", "a")
    assert short_hash("a", "b") == short_hash("a\0b")


def test_a_path_that_is_no_utf_8_has_a_hash_of_its_own() -> None:
    odd = [os.fsdecode(b"Doe\xff"), os.fsdecode(b"Doe\xfe"), "Doe"]
    assert len({short_hash(path, UID) for path in odd}) == 3


def test_names_are_found_in_the_package_and_elsewhere() -> None:
    find = lazy_names("oarseg", {"OarsegError": ".errors", "sqrt": "math"})
    assert find("OarsegError").__module__ == "oarseg.errors" and find("sqrt")(9) == 3
    with pytest.raises(AttributeError, match="'oarseg' has no attribute 'missing'"):
        find("missing")


def test_nothing_is_imported_before_it_is_used() -> None:
    code = (
        "import sys; from oarseg.lazy import lazy_names; find = lazy_names('oarseg', {'Wave_read': 'wave'});"
        "before = 'wave' in sys.modules; find('Wave_read'); print(before, 'wave' in sys.modules)"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.split() == ["False", "True"]


def test_libraries_warnings_are_kept_from_the_terminal(recwarn: pytest.WarningsRecorder) -> None:
    @without_warnings()
    def noisy() -> int:
        warnings.warn("Invalid value for VR DA", UserWarning, stacklevel=1)
        return 3

    assert noisy() == noisy() == 3 and not recwarn.list
    warnings.warn("after", UserWarning, stacklevel=1)
    assert [str(w.message) for w in recwarn.list] == ["after"]
