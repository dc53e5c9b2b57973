"""Text from outside, such as file names and names in DICOM files, made fit for a line on a terminal or in a file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def printable(text: str) -> str:
    """Return ``text`` with every character that is not printable as an escape: ``\\n``, ``\\x1b``, ``\\udcff``.

    A file name may hold a line break, a terminal's control sequence, or bytes that are no UTF-8, which Python keeps as
    half surrogate pairs and no file or terminal takes.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def listed(words: Iterable[str], most: int = 12) -> str:
    """Return the first ``most`` of the words with commas, and how many more there are."""
    words = list(words)
    return ", ".join(words[:most]) + (f" and {len(words) - most} more" if len(words) > most else "")


def markdown_table(heads: Sequence[str], rows: Iterable[Sequence]) -> str:
    """Return a table in Markdown; cells that a row lacks at its end are blank."""
    filled = [[*row, *[""] * (len(heads) - len(row))] for row in rows]
    lines = ["".join("| " if cell == "" else f"| {cell} " for cell in row) + "|" for row in (heads, *filled)]
    return "\n".join([lines[0], "|---" * len(heads) + "|", *lines[1:]])


def one_line(text: str) -> str:
    """Return a message, such as one that ends with a list, as one printable line."""
    return " ".join(printable(line.strip()) for line in text.splitlines())
