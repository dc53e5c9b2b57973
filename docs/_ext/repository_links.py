"""Links that leave ``docs/`` for a file which is a page here too, such as ``../CHANGELOG.md``, lead to that page.

On GitHub they are right as they stand. Links to other files of the repository become downloads, by MyST.
"""

from __future__ import annotations

import posixpath
import re

from sphinx.application import Sphinx

PAGES = {
    "../README.md": "index.md",
    "../CHANGELOG.md": "changelog.md",
    "../CONTRIBUTING.md": "contributing.md",
}
LINK = re.compile(r"(?<=\]\()(?P<up>(?:\.\./)+)(?P<rest>[^)#\s]+)")


def to_pages(text: str, docname: str) -> str:
    """``text`` of the page ``docname`` with such links turned."""
    folder = posixpath.dirname(docname)

    def turned(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(folder, match[0]))
        return posixpath.relpath(PAGES[target], folder or ".") if target in PAGES else match[0]

    return LINK.sub(turned, text)


def _read(app: Sphinx, docname: str, content: list[str]) -> None:
    content[0] = to_pages(content[0], docname)


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("source-read", _read)
    return {"parallel_read_safe": True}
