"""Names from outside on one line."""

from __future__ import annotations

from oarseg.text import one_line, printable


def test_what_no_line_takes_is_escaped() -> None:
    assert printable("Müller 東 a-b") == "Müller 東 a-b"
    told = printable("a\nb\x1b[2J\udcff\u202ec\u2028d")
    assert told == "a\\nb\\x1b[2J\\udcff\\u202ec\\u2028d" and told.encode("utf-8") and len(told.splitlines()) == 1


def test_a_message_with_a_list_is_one_line_without_two_letters_for_a_line_end() -> None:
    assert one_line("2 CT series:\n  1. head\n  2. neck\x1b[2J") == "2 CT series: 1. head 2. neck\\x1b[2J"
    assert one_line("as it is") == "as it is"
