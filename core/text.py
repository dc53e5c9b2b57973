"""Text from outside, such as file names and names in DICOM files, made fit for a line on a terminal or in a file."""

from __future__ import annotations


def printable(text: str) -> str:
    """Return ``text`` with every character that is not printable as an escape: ``\\n``, ``\\x1b``, ``\\udcff``.

    A file name may hold a line break, a terminal's control sequence, or bytes that are no UTF-8, which Python keeps as
    half surrogate pairs and no file or terminal takes.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def one_line(text: str) -> str:
    """Return a message, such as one that ends with a list, as one printable line."""
    return " ".join(printable(line.strip()) for line in text.splitlines())
