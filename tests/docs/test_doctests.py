"""The examples in docstrings: what is not marked as skipped gives what it shows."""

from __future__ import annotations

import doctest
from importlib import import_module, util
from pathlib import Path
from pkgutil import iter_modules

import pytest

import oarseg

PACKAGES = ("oarseg", *(f"oarseg.{name}" for name in sorted({*oarseg._ROOMS, "cli", "demo"})))


def modules(package: str) -> list[str]:
    """Names of a package and of all modules below it."""
    found = [package]
    for info in iter_modules(list(util.find_spec(package).submodule_search_locations)):
        name = f"{package}.{info.name}"
        if name not in PACKAGES:
            found += modules(name) if info.ispkg else [name]
    return found


def source(module: str) -> str:
    return Path(util.find_spec(module).origin).read_text(encoding="utf-8")


SHOWN = [name for package in PACKAGES for name in modules(package) if ">>> " in source(name)]


@pytest.mark.parametrize("module", SHOWN)
def test_examples(module: str) -> None:
    result = doctest.testmod(import_module(module), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert not result.failed


def test_some_examples_run() -> None:
    """Not all of them are skipped."""
    parser = doctest.DocTestParser()
    shown = [example for module in SHOWN for example in parser.get_examples(source(module))]
    assert sum(doctest.SKIP not in example.options for example in shown) >= 5
