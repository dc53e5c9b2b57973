"""Names from outside on one line."""

from __future__ import annotations

from oarseg.text import printable


def test_what_no_line_takes_is_escaped() -> None:
    assert printable("Müller 東 a-b") == "Müller 東 a-b"
    told = printable("a\nb\x1b[2J\udcff\u202ec\u2028d")
    assert told == "a\\nb\\x1b[2J\\udcff\\u202ec\\u2028d" and told.encode("utf-8") and len(told.splitlines()) == 1
