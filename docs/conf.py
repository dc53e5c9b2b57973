"""The site of these pages: ``make docs``, or ``python -m sphinx -W --keep-going docs docs/_build/html``.

Nothing is fetched: no intersphinx. Pages are Markdown that GitHub shows as well; the references of the command line and
of the Python API come from the code itself.
"""

import inspect
import sys
from importlib import import_module
from pathlib import Path

from sphinx.application import Sphinx

from oarseg import __version__

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "oarseg"
author = "the authors of oarseg"
copyright = f"{author}, Apache License 2.0"  # noqa: A001 - Sphinx's name
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "command_line",
    "repository_links",
]
exclude_patterns = ["_build", "_ext"]

html_theme = "furo"
html_title = f"oarseg {release}"
html_copy_source = False

myst_heading_anchors = 4

autodoc_default_options = {"members": True, "undoc-members": True}
autodoc_inherit_docstrings = False
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 100
add_module_names = False

# Every reference to a name of oarseg must lead somewhere.
nitpicky = True
nitpick_ignore_regex = [
    # Other projects' names: no intersphinx, which would have to fetch their inventories.
    (
        "py:.*",
        r"(collections|contextlib|ignite|monai|nibabel|np|numpy|pathlib|pydicom|torch|typing)\..*|MetaTensor|Tensor",
    ),
    # Source files, and types behind the public names.
    ("py:mod", r"oarseg\..*"),
    ("py:class", r"(oarseg\.[a-z_.]+\.)?(Engine|Header|Unreadable)"),
    ("py:(class|func)", r"oarseg\.(inference\.localize\.Located|geometry\.(volume\.Volume|grid\.resample))"),
    ("py:func", r"oarseg\.training\.weights\.read_state"),
    (
        "py:class",
        r"oarseg\.(compression\.recipe\.TrainedNetwork|networks\.losses\.PartialLabelLoss|sites\.codes\.SegmentCodes)",
    ),
]

# Names that a package imports on first use: autodoc documents what it finds in the module.
for package in ("", ".compression", ".inference", ".networks", ".training", ".transforms"):
    module = import_module(f"oarseg{package}")
    vars(module).update({name: getattr(module, name) for name in module.__all__})


def keep_sentences(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Napoleon takes what stands before a colon in a property's first line for its type; ours are sentences."""
    if what == "property":
        lines[:] = (inspect.getdoc(obj) or "").splitlines()


def readable_defaults(
    app: Sphinx, what: str, name: str, obj: object, options: object, signature: str | None, returned: str | None
) -> tuple[str | None, str | None]:
    """``<factory>``, a dataclass' default, is no Python, so that Sphinx cuts such a signature at every comma."""
    return signature and signature.replace("<factory>", "..."), returned


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("autodoc-process-signature", readable_defaults)
    app.connect("autodoc-process-docstring", keep_sentences, priority=600)  # after Napoleon, which has 500
