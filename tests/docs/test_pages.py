"""README, CONTRIBUTING and the pages as they stand on GitHub: short, with links, paths and commands that exist."""

from __future__ import annotations

import argparse
import re
import shlex
from pathlib import Path
from urllib.parse import unquote

import pytest

from oarseg.cli._main import build_parser

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")]
PAGES += [page for page in sorted((ROOT / "docs").rglob("*.md")) if "_build" not in page.parts]
FENCE = re.compile(r"^ *```(?:bash|console|sh)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`(?:\.venv/bin/)?(oarseg [^`]+)`")
LINK = re.compile(r"\]\((?!https?:)([^)#\s]+)")
# Of CONTRIBUTING: `inference/two_stage.py`.
PATH = re.compile(r"`([a-z_0-9*]+/[a-z_0-9/*.]*)`")


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def shown_commands(page: Path) -> list[str]:
    """Return every ``oarseg`` command of the page's shell blocks and of its prose, as it is typed."""
    text = page.read_text(encoding="utf-8")
    lines = [line for block in FENCE.findall(text) for line in re.split(r"(?<!\\)\n|\$\(|&&|\|", block)]
    typed = [re.sub(r"^\s*(\$ )?(\w+=\S* )*(\.venv/bin/|/opt/oarseg/bin/)?", "", line) for line in lines]
    return [line for line in typed + INLINE.findall(text) if re.match(r"oarseg [a-z-]", line)]


def parser_of(words: list[str]) -> tuple[argparse.ArgumentParser, list[str]]:
    """Return the parser of the command that ``words`` begin with, and the words after it."""
    parser, rest = build_parser(), words
    while rest and (found := sub_parsers(parser)):
        assert rest[0] in found or rest[0].startswith("-"), f"no command {' '.join(words)}"
        if rest[0] not in found:
            break
        parser, rest = found[rest[0]], rest[1:]
    return parser, rest


def sub_parsers(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    return next((dict(a.choices) for a in parser._actions if isinstance(a, argparse._SubParsersAction)), {})


def unknown_options(command: str) -> list[str]:
    words = shlex.split(
        command.replace("'", '"').partition("  #")[0].partition(" > ")[0].partition(")")[0], comments=True
    )
    if words[1] == "...":
        return []
    parser, rest = parser_of(words[1:])
    known = {option for action in parser._actions for option in action.option_strings}
    return [word for word in rest if re.match(r"--?[a-z]", word) and word.partition("=")[0] not in known]


def test_readme_is_read_in_a_minute() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 160


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_to_files_of_the_repository_exist(page: Path) -> None:
    links = LINK.findall(page.read_text(encoding="utf-8"))
    assert not [link for link in links if not (page.parent / unquote(link)).exists()]


def test_contributing_names_files_that_exist() -> None:
    paths = PATH.findall((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))
    assert len(paths) > 30
    inside = {"read/", "guards/", "write/", "deploy/", "convert/"}  # of the room in whose row they stand
    assert not [path for path in paths if path not in inside and not any(ROOT.glob(path))]


@pytest.mark.parametrize("page", [page for page in PAGES if shown_commands(page)], ids=name)
def test_shown_commands_and_their_options_exist(page: Path) -> None:
    wrong = {command: unknown_options(command) for command in shown_commands(page)}
    assert not {command: options for command, options in wrong.items() if options}


def test_a_command_that_does_not_exist_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```bash\noarseg segment CT --nothing\n```\nand `oarseg organs --site`\n", encoding="utf-8")
    commands = shown_commands(page)
    assert [unknown_options(command) for command in commands] == [["--nothing"], []]
    with pytest.raises(AssertionError, match="sgment"):
        unknown_options("oarseg sgment CT")
