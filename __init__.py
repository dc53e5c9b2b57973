"""Lets ``import oarseg`` work in the folder that holds a clone named ``oarseg``. Not installed.

Without this file Python takes the clone for a namespace package and does not ask the editable install for the real one.
"""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

if __name__ == "oarseg":
    _root = Path(__file__).resolve().parent
    _spec = spec_from_file_location(
        __name__, _root / "core" / "__init__.py", submodule_search_locations=[str(_root / "core"), str(_root)]
    )
    sys.modules[__name__] = module_from_spec(_spec)
    _spec.loader.exec_module(sys.modules[__name__])
