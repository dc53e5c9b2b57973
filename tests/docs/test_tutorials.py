"""The tutorials, run as they stand, in an empty folder each: the fenced blocks of a page in order.

``python`` blocks share one namespace; those that begin with ``>>>`` are compared as doctests. ``bash`` and ``console``
blocks run in a shell, but a plain ``oarseg`` command runs in this process, which has imported PyTorch already.
Below a line of ``console`` that begins with ``$`` stands what the command prints. ``...`` stands for anything, seconds
are not compared, and other decimal numbers may be a tenth off: another engine or processor gives slightly other
contours.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from oarseg.cli import main

TUTORIALS = Path(__file__).resolve().parents[2] / "docs/tutorials"

FENCE = re.compile(r"^```(?P<kind>python|bash|console)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
# What a shell would expand or join.
SHELL = re.compile(r"[|&;<>$`*?~\n]")
# In what a page shows: anything, seconds, a decimal number.
LOOSE = re.compile(r"(\.\.\.|\d+\.\d+ s\b|(?<![\w.])[+-]?\d+\.\d+(?!\.?\w))")
SHARE, LEAST = 0.1, 0.1


class Checker(doctest.OutputChecker):
    """Compares as the module's text says; white space is one."""

    def check_output(self, want: str, got: str, optionflags: int) -> bool:
        pieces = LOOSE.split(" ".join(want.split()))
        numbers = [piece for piece in pieces[1::2] if piece[-1].isdigit()]
        pattern = "".join(loosened(piece) if i % 2 else re.escape(piece) for i, piece in enumerate(pieces))
        found = re.fullmatch(pattern, " ".join(got.split()), re.DOTALL)
        return found is not None and all(map(nearly, numbers, found.groups()))


def loosened(piece: str) -> str:
    """The pattern of what may stand there."""
    return ".*?" if piece == "..." else r"\d+\.\d+ s" if piece.endswith("s") else r"([+-]?\d+\.\d+)"


def nearly(want: str, got: str) -> bool:
    return abs(float(got) - float(want)) <= max(LEAST, SHARE * abs(float(want)))


@dataclass(frozen=True)
class Block:
    """A fenced block; ``line``: of its first line of code, from 1."""

    kind: str
    text: str
    line: int


def blocks(page: Path) -> list[Block]:
    """The page's blocks that can be run."""
    text = page.read_text(encoding="utf-8")
    return [Block(m["kind"], m["text"], text.count("\n", 0, m.start()) + 2) for m in FENCE.finditer(text)]


def run_page(page: Path) -> None:
    """Run every block in the working directory. Raises AssertionError with the page's line for the first that fails."""
    names: dict = {"__name__": "__main__"}
    for block in blocks(page):
        if block.kind != "python":
            for command, shown in commands(block):
                run_command(command, shown, f"{page.name}:{block.line}")
        elif block.text.startswith(">>>"):
            run_doctest(block, names, page)
        else:
            exec(compile("\n" * (block.line - 1) + block.text, str(page), "exec"), names)  # noqa: S102


def run_doctest(block: Block, names: dict, page: Path) -> None:
    test = doctest.DocTest([], names, page.name, str(page), block.line - 1, None)
    test.globs = names  # not a copy: later blocks go on with the names
    test.examples = doctest.DocTestParser().get_examples(block.text, page.name)
    report: list[str] = []
    failed = doctest.DocTestRunner(Checker(), verbose=False, optionflags=0).run(
        test, out=report.append, clear_globs=False
    )
    assert not failed.failed, "".join(report)


def commands(block: Block) -> list[tuple[str, str | None]]:
    """Commands and what they are to print; None where the block does not say."""
    if block.kind == "bash":
        return [(block.text, None)]
    parts = re.split(r"^\$ ", block.text, flags=re.MULTILINE)
    assert not parts[0].strip(), f"line {block.line}: a console block begins with a command"
    return [(command, shown or None) for command, _, shown in (part.partition("\n") for part in parts[1:])]


def run_command(command: str, shown: str | None, place: str) -> None:
    code, output = in_process(command) if is_plain(command) else in_shell(command)
    refused = shown is not None and "oarseg: error:" in shown
    assert code == (2 if refused else 0), f"{place}: {command}\n{output}"
    if shown is not None:
        assert Checker().check_output(shown, output, 0), f"{place}: {command}\n{output}\nshown:\n{shown}"


def is_plain(command: str) -> bool:
    """Whether ``command`` is one ``oarseg`` command without anything for a shell."""
    return command.startswith("oarseg ") and not SHELL.search(command)


def in_process(command: str) -> tuple[int, str]:
    """Run what the ``oarseg`` script calls; return its exit code and both streams in one, as a terminal shows them."""
    with contextlib.redirect_stdout(io.StringIO()) as stream, contextlib.redirect_stderr(stream):
        code = main(shlex.split(command)[1:])
    return code, stream.getvalue()


def in_shell(command: str) -> tuple[int, str]:
    """Run ``command`` by bash, with the commands of the tests' own Python; return exit code and output."""
    here = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    done = subprocess.run(
        ["bash", "-euc", command], env={**os.environ, "PATH": here}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, which is the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("page", sorted(TUTORIALS.glob("*.md")), ids=lambda page: page.stem)
def test_tutorial(page: Path, folder: Path) -> None:
    assert blocks(page)
    run_page(page)


WRONG = {
    "another value": "```python\n>>> 1 + 1\n3\n```\n",
    "another number": "```python\n>>> print(60.7, 'cm3')\n50.7 cm3\n```\n",
    "an exception": "```python\nraise SystemError('wrong')\n```\n",
    "another output": "```console\n$ echo one\ntwo\n```\n",
    "a command that fails": "```bash\nfalse\ntrue\n```\n",
    "an error that does not come": "```console\n$ echo oarseg: error: gone\noarseg: error: gone\n```\n",
    "another output of oarseg": "```console\n$ oarseg organs --json\nnothing\n```\n",
    "an oarseg command that fails": "```bash\noarseg organs --site none\n```\n",
}


@pytest.mark.parametrize("text", WRONG.values(), ids=WRONG.keys())
def test_a_wrong_page_fails(text: str, folder: Path) -> None:
    (folder / "page.md").write_text(text, encoding="utf-8")
    with pytest.raises((AssertionError, SystemError)):
        run_page(folder / "page.md")


def test_a_right_page_passes(folder: Path) -> None:
    text = "```python\nx = 60.7\n```\n```python\n>>> print(x + 2, 'cm3 in 7.1 s')\n60.7 cm3 in 9.9 s\n```\n"
    text += "```console\n$ echo 1; echo 2\n1\n...\n$ oarseg organs --site none\noarseg: error: ...\n```\n"
    (folder / "page.md").write_text(text, encoding="utf-8")
    run_page(folder / "page.md")


def test_plain_commands_run_in_this_process() -> None:
    assert is_plain("oarseg organs --site 'toy site.json'")
    assert not any(
        map(is_plain, ("oarseg organs | head", "oarseg organs --site $A", "python -m oarseg.cli", "oarsegx a"))
    )
