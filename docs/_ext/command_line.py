"""The directive ``{command-line}``: a section for each command of ``oarseg``, with the text of its ``--help``.

From the program's own parser when the site is built, so that the page cannot tell of other options than the program.
(sphinx-argparse reads the examples below the options as prose, and runs their lines together.)
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from unittest import mock

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from oarseg.cli._main import build_parser

WIDTH = "88"


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """A parser, then its commands', theirs included."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for sub in action.choices.values():
                yield from parsers(sub)


class CommandLine(SphinxDirective):
    """No argument, no content. Each section's id is the command with hyphens: ``oarseg-bundles-sync``."""

    def run(self) -> list[nodes.Node]:
        # argparse asks the environment for the width and for colours.
        with mock.patch.dict(os.environ, {"COLUMNS": WIDTH, "NO_COLOR": "1"}):
            return [self.section(parser) for parser in parsers(build_parser())]

    def section(self, parser: argparse.ArgumentParser) -> nodes.section:
        section = nodes.section(ids=[parser.prog.replace(" ", "-")], names=[parser.prog])
        section += nodes.title("", parser.prog)
        section += nodes.literal_block("", parser.format_help(), language="text")
        self.state.document.note_explicit_target(section)
        return section


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_directive("command-line", CommandLine)
    return {"parallel_read_safe": True}
