"""The rooms of the package import downwards only, and no part grows beyond what can be read at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.house import ORDER, arrows, hard_words, imports, long_parts, modules, room, upward


def test_no_import_runs_up() -> None:
    assert upward(arrows()) == []


def test_every_module_is_in_a_room() -> None:
    assert {room(name) for name in modules()} <= set(ORDER)


def test_an_import_that_runs_up_is_seen(tmp_path: Path) -> None:
    """In a function, in a table of lazy imports, and relative; not one for type checkers alone."""
    source = tmp_path / "grid.py"
    source.write_text(
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from oarseg.cli import main\n"
        "def late():\n    from oarseg.inference.job import segment\n    from ..node import Node\n"
        "TABLE = {'x': 'oarseg.cohort.run'}\n",
        encoding="utf-8",
    )
    known = modules()
    found = set(imports("oarseg.geometry.grid", source, known))
    assert found == {"oarseg.inference.job", "oarseg.node", "oarseg.cohort.run"}
    ends = {("geometry", room(name)): [name] for name in found}
    assert len(upward(ends)) == 3


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from oarseg import segment", "oarseg.inference.job"),
        ("import oarseg\noarseg.cli.main()", "oarseg.cli"),
        ("if TYPE_CHECKING:\n    pass\nelse:\n    import oarseg.cli", "oarseg.cli"),
        ("if not TYPE_CHECKING:\n    import oarseg.cli", "oarseg.cli"),
        ("x = 'oarseg.inference.job.segment'", "oarseg.inference.job"),
        ("x = 'oarseg.cli:main'", "oarseg.cli"),
        ("import_module('experiments.house')", "experiments"),
    ],
)
def test_roundabout_imports_are_seen(source: str, found: str, tmp_path: Path) -> None:
    (tmp_path / "grid.py").write_text(source, encoding="utf-8")
    assert found in set(imports("oarseg.geometry.grid", tmp_path / "grid.py", modules()))


def test_the_version_is_no_arrow_up(tmp_path: Path) -> None:
    (tmp_path / "grid.py").write_text("from oarseg import __version__", encoding="utf-8")
    assert set(imports("oarseg.geometry.grid", tmp_path / "grid.py", modules())) <= {"oarseg"}


@pytest.mark.parametrize("module", ["oarseg.inference.engines.graph", "oarseg.inference.report.content"])
def test_nested_rooms_are_rooms(module: str) -> None:
    assert room(module) == module.rpartition(".")[0].removeprefix("oarseg.")


def test_nothing_is_too_long() -> None:
    assert long_parts() == []


def test_hard_words_stay_rare() -> None:
    assert sum(hard_words().values()) <= 40
