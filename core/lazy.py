"""Import a package's public names on first use, so that ``import oarseg`` stays quick."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy_names(package: str, modules: Mapping[str, str]) -> Callable[[str], Any]:
    """Return a module's ``__getattr__`` that finds each name of ``modules`` in the module it maps to.

    Args: ``package``: the package's ``__name__``. ``modules``: by public name, the module that defines it: ".name"
    within the package, or in full.

    >>> __getattr__ = lazy_names(__name__, {"Pipeline": ".pipeline"})
    """

    def find(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(modules[name], package), name)

    return find
