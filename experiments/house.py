"""Measure the house: which room imports which, lines, long files and functions, and the files that a command enters.

    python -m experiments.house                       arrows between rooms, lines, what is too long, hard words
    python -m experiments.house enter CT              files and rooms that one `oarseg segment CT` enters

A room is a sub-package of ``oarseg``; ``inference.engines`` and ``inference.report`` are rooms of their own.
"""

from __future__ import annotations

import argparse
import ast
import configparser
import re
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
# From the lowest room to the highest: a room imports those before it, never one after it.
ORDER = (
    "core", "sites", "geometry", "networks", "dicom", "images", "transforms", "datasets", "training", "bundles",
    "demo", "inference.report", "inference.engines", "inference", "compression", "evaluation", "benchmark",
    "dicomweb", "cohort", "node", "cli", "oarseg",
)  # fmt: skip
NESTED = ("inference.engines", "inference.report")
MOST_LINES, MOST_FUNCTION = 300, 40
# Where the names that the package itself offers are defined, and what a module in a string looks like.
API, DOTTED = "oarseg.inference.job", re.compile(r"\.?\w+(\.\w+)+(:\w+)?|\.\w+")
HARD_WORDS = ("told", "asked", "wanted")


def modules(root: Path = ROOT) -> dict[str, Path]:
    """Return the path of every installed module, by its dotted name."""
    setup = configparser.ConfigParser()
    setup.read(root / "setup.cfg")
    places = dict(line.split(" = ") for line in setup["options"]["package_dir"].strip().splitlines())
    found = {}
    for package, folder in sorted(places.items(), key=lambda row: len(row[0])):
        for path in (root / folder).rglob("*.py"):
            parts = [package, *path.relative_to(root / folder).with_suffix("").parts]
            found[".".join(parts).removesuffix(".__init__")] = path
    return found


def room(module: str) -> str:
    """Return the room of a module. The package itself, which re-exports the public names, is the room "oarseg"."""
    name = module.removeprefix("oarseg").lstrip(".")
    if not name:
        return "oarseg"
    for nested in NESTED:
        if name == nested or name.startswith(f"{nested}."):
            return nested
    first = name.partition(".")[0]
    return first if first in ORDER else "core"


def imports(module: str, path: Path, known: Mapping[str, Path]) -> Iterator[str]:
    """Yield the modules of oarseg and of experiments that a module imports, lazily or not, TYPE_CHECKING aside.

    A module named in a string, as tables of lazy imports have them, and one reached as ``oarseg.room.module`` count
    too. What the package itself offers (``from oarseg import segment``) is the Python API's, except the version.
    """
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in _nodes(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join([*package.split(".")[: len(package.split(".")) - node.level + 1], base]).rstrip(".")
            names = [f"{base}.{a.name}" if f"{base}.{a.name}" in known else base for a in node.names]
            offered = [a.name for a in node.names if f"oarseg.{a.name}" not in known and a.name != "__version__"]
            if base == "oarseg" and offered:
                names.append(API)
        elif isinstance(node, ast.Attribute):
            names = [_module_of(ast.unparse(node), known)]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and DOTTED.fullmatch(node.value):
            text = f"{package}{node.value}" if node.value.startswith(".") else node.value
            names = [name for name in [_module_of(text, known)] if name != package]
        yield from (name for name in names if name in known or name.split(".")[0] == "experiments")


def _module_of(text: str, known: Mapping[str, Path]) -> str:
    """Return the module in a dotted name such as "oarseg.cli.main" or "experiments.house:main"; "" without one."""
    parts = text.split(":")[0].split(".")
    if parts[0] == "experiments":
        return "experiments" if len(parts) > 1 else ""
    return next((name for n in range(len(parts), 1, -1) if (name := ".".join(parts[:n])) in known), "")


def _nodes(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            for other in child.orelse:
                yield other
                yield from _nodes(other)
            continue
        yield child
        yield from _nodes(child)


def arrows(root: Path = ROOT) -> dict[tuple[str, str], list[str]]:
    """Return, for each pair of rooms of which the first imports the second, the imports ("module -> module")."""
    known, found = modules(root), {}
    for module, path in known.items():
        for name in imports(module, path, known):
            ends = (room(module), "experiments" if name.startswith("experiments") else room(name))
            if ends[0] != ends[1] and not (name == "oarseg" and module != "oarseg"):
                found.setdefault(ends, []).append(f"{module} -> {name}")
    return found


def upward(found: Mapping[tuple[str, str], list[str]]) -> list[str]:
    """Return the imports that run from a lower room to a higher one, or to experiments."""
    rank = {name: number for number, name in enumerate(ORDER)}
    return [line for (a, b), lines in found.items() if b == "experiments" or rank[b] > rank[a] for line in lines]


def long_parts(root: Path = ROOT) -> list[str]:
    """Return the files above 300 lines and the functions above 40 (docstring and decorators included)."""
    found = []
    for module, path in modules(root).items():
        text = path.read_text(encoding="utf-8")
        if (count := len(text.splitlines())) > MOST_LINES:
            found.append(f"{module}: {count} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                count = node.end_lineno - node.lineno + 1
                if count > MOST_FUNCTION:
                    found.append(f"{module}.{node.name}: {count} lines")
    return found


def hard_words(root: Path = ROOT) -> dict[str, int]:
    """Return how often each word that hides its meaning stands in the installed package."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in modules(root).values())
    return {word: len(re.findall(rf"\b{word}\b", text)) for word in HARD_WORDS}


def entered(arguments: list[str]) -> set[Path]:
    """Run ``oarseg`` with ``arguments`` and return the project's files of which a function was called."""
    from oarseg.cli import main

    called: set[str] = set()

    def note(frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and frame.f_code.co_name != "<module>":
            called.add(frame.f_code.co_filename)

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        main(arguments)
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return {Path(name).resolve() for name in called} & {path.resolve() for path in modules().values()}


def show_enter(ct: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        files = entered(["segment", ct, "-o", str(Path(folder) / "out"), "-q"])
    by_room: dict[str, list[str]] = {}
    for path in sorted(files):
        place = path.relative_to(ROOT)
        by_room.setdefault(place.parts[0], []).append(str(place))
    print(f"{len(files)} files in {len(by_room)} rooms")
    for name, places in by_room.items():
        print(f"  {name}: {', '.join(places)}")


def show_house() -> None:
    found = arrows()
    for name in reversed(ORDER):
        below = [b for a, b in found if a == name]
        if below:
            print(f"{name} -> {', '.join(sorted(below, key=[*ORDER, 'experiments'].index, reverse=True))}")
    print(f"imports that run up: {len(upward(found))}")
    for line in upward(found):
        print(f"  {line}")
    print(f"installed lines: {sum(len(p.read_text(encoding='utf-8').splitlines()) for p in modules().values())}")
    print(f"too long: {len(long_parts())}")
    for line in long_parts():
        print(f"  {line}")
    print(f"hard words: {hard_words()}")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb")
    verbs.add_parser("enter", help="files that one segment enters").add_argument("ct")
    args = parser.parse_args(argv)
    if args.verb == "enter":
        show_enter(args.ct)
    else:
        show_house()
    return 0


if __name__ == "__main__":
    sys.exit(main())
