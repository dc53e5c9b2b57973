"""Text from outside, such as file names and names in DICOM files, made fit for a line on a terminal or in a file."""

from __future__ import annotations

from collections.abc import Iterable


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


def one_line(text: str) -> str:
    """Return a message, such as one that ends with a list, as one printable line."""
    return " ".join(printable(line.strip()) for line in text.splitlines())
