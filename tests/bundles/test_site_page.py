"""docs/new-site.md: what it shows without training is what comes."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from oarseg.bundles.spec import bundle_specs
from oarseg.cli import main
from oarseg.datasets import load_datalist
from oarseg.sites import load_site
from oarseg.sites.table import ORGAN, SITE, known_sites

PAGE = (Path(__file__).resolve().parents[2] / "docs/new-site.md").read_text(encoding="utf-8")


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the page's files, in which its commands are given."""
    monkeypatch.chdir(tmp_path)
    table = blocks("json")[0]
    (tmp_path / "toy.json").write_text(table, encoding="utf-8")
    slip = table.replace('"field_mm": [128, 128, 128]', '"field_mm": [128, 100, 128]')
    assert slip != table
    (tmp_path / "slip.json").write_text(slip, encoding="utf-8")
    (tmp_path / "draw.py").write_text(blocks("python")[0], encoding="utf-8")
    return tmp_path


def shown(command: str) -> str:
    """What the page shows below a command."""
    text = "\n".join(blocks("console"))
    return text.partition(f"$ {command}\n")[2].partition("\n$ ")[0].strip()


@pytest.mark.parametrize("command", ["oarseg organs --site toy.json", "oarseg organs --site slip.json"])
def test_what_the_table_commands_print(command: str, folder: Path, capsys: pytest.CaptureFixture) -> None:
    main(command.split()[1:])
    captured = capsys.readouterr()
    assert (captured.out + captured.err).strip() == shown(command)


def test_what_sync_prints(folder: Path, capsys: pytest.CaptureFixture) -> None:
    command = "oarseg bundles sync --site toy.json --root bundles"
    assert main(command.split()[1:]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert [printed[0], "...", printed[-1]] == shown(command).splitlines()


def test_the_drawn_patients_are_a_data_set(folder: Path) -> None:
    runpy.run_path("draw.py")
    keys = [organ.key for organ in load_site("toy.json").organs]
    training, validation = (load_datalist("toy", section) for section in ("training", "validation"))
    assert (len(training), len(validation)) == (3, 1)
    assert all(case["labelled"] == keys for case in training + validation)


def test_every_command_names_files_of_the_page(folder: Path) -> None:
    commands = [line[2:] for block in blocks("console") for line in block.splitlines() if line.startswith("$ ")]
    assert len(commands) > 10
    bundles = {spec.name for spec in bundle_specs(load_site("toy.json"))}
    assert set(re.findall(r"\btoy_\w+", " ".join(commands))) == bundles


def test_sites_and_fields_are_all_told() -> None:
    for site in known_sites():
        row = next(line for line in PAGE.splitlines() if line.startswith(f"| `{site}` |"))
        assert ("**none**" in row) == (site != "head_neck")
    for field in {*SITE, *ORGAN} - {"site", "title", "organs", "key", "color", "base_width"}:
        assert f"`{field}`" in PAGE, field
