"""``oarseg demo``: the embedded CT; replaces its own earlier results and nobody else's."""

from __future__ import annotations

import pytest

from oarseg.cli import main
from oarseg.cli.demo import demo_folder, is_earlier_demo
from oarseg.errors import InputError


@pytest.fixture
def small_demo(ct_folder, monkeypatch):
    """The small CT in the place of the embedded one."""
    monkeypatch.setattr("oarseg.cli.demo.demo_folder", lambda: ct_folder)
    return ct_folder


def test_it_replaces_its_own_results_only(small_demo, write_ct, tmp_path, fake, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["demo"]) == 0 and "open oarseg_demo/preview.png" in capsys.readouterr().out
    assert is_earlier_demo(tmp_path / "oarseg_demo", small_demo)
    assert main(["demo", "-q"]) == 0
    patient = write_ct(tmp_path / "patient")
    assert main(["segment", str(patient), "-o", "results", "-q"]) == 0
    assert main(["demo", "-o", "results", "-q"]) == 2
    assert "not empty" in capsys.readouterr().err


def test_the_ct_is_part_of_the_package(monkeypatch, tmp_path):
    assert len(list(demo_folder().glob("*.dcm"))) > 50
    monkeypatch.setattr("oarseg.demo.__file__", str(tmp_path / "__init__.py"))
    with pytest.raises(InputError, match="install oarseg again"):
        demo_folder()
