"""Odd values, and changes to bytes and to JSON, as hypothesis strategies: what is found shrinks to the least change."""

from __future__ import annotations

import copy
import json
import math
from typing import Any

from hypothesis import strategies as st

# Changes in one input. Each reader gives up at the first thing that is wrong, so a few find more than many.
MOST = 3
PLACES = st.integers(0, 1 << 20)

byte_change = st.one_of(
    st.tuples(st.just("flip"), PLACES, st.integers(1, 255)),
    st.tuples(st.just("cut"), PLACES, st.just(0)),
    st.tuples(st.just("insert"), PLACES, st.binary(min_size=1, max_size=16)),
    st.tuples(st.just("zeros"), PLACES, st.integers(1, 64)),
    st.tuples(st.just("repeat"), PLACES, st.integers(1, 64)),
    st.tuples(st.just("ones"), PLACES, st.integers(1, 8)),
)
byte_changes = st.lists(byte_change, max_size=MOST)


def changed(data: bytes, changes: list[tuple]) -> bytes:
    """``data`` after each of the changes; a place counts modulo the length."""
    for kind, place, value in changes:
        at = place % (len(data) + 1)
        if kind == "cut":
            data = data[:at]
        elif kind == "insert":
            data = data[:at] + value + data[at:]
        elif kind == "flip" and data:
            at = place % len(data)
            data = data[:at] + bytes([data[at] ^ value]) + data[at + 1 :]
        elif kind == "repeat":
            data = data[:at] + data[at : at + value] * 3 + data[at + value :]
        elif kind in ("zeros", "ones"):
            data = data[:at] + (b"\0" if kind == "zeros" else b"\xff") * min(value, len(data) - at) + data[at + value :]
    return data


odd_text = st.one_of(
    st.sampled_from(
        ["", " ", ".", "..", "../../out", "/", "/etc/hostname", "a" * 5000, "\0", "\ud800", "²", "٣", "-1", "1e999",
         "nan", "inf", "9" * 5000, "é" * 300, "a\nb", "\x1b[2J", "brainstem", "C:\\x", "a/b/../../.."]
    ),
    st.text(max_size=12),
)  # fmt: skip
odd_number = st.one_of(
    st.sampled_from([0, -1, 1, 2**31, 2**63, 2**64, 10**400, -(10**400), 1e308, -1e308, 5e-324, math.nan, math.inf]),
    st.integers(-5, 1000),
    st.floats(),
)
odd_json = st.one_of(
    st.none(), st.booleans(), odd_number, odd_text, st.just([]), st.just({}), st.just([[]]), st.just([None]),
    st.just({"": None}), st.lists(odd_number, min_size=1, max_size=6), st.lists(odd_text, min_size=1, max_size=3),
)  # fmt: skip
json_change = st.one_of(
    st.tuples(st.just("put"), PLACES, odd_json),
    st.tuples(st.just("remove"), PLACES, st.none()),
    st.tuples(st.just("rename"), PLACES, odd_text),
    st.tuples(st.just("twice"), PLACES, st.none()),
    st.tuples(st.just("exchange"), PLACES, PLACES),
)
json_changes = st.lists(json_change, max_size=MOST)


def _places(tree: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) of a JSON tree."""
    keys = list(tree) if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ()
    return [(tree, key) for key in keys] + [place for key in keys for place in _places(tree[key])]


def changed_json(tree: Any, changes: list[tuple]) -> Any:
    """A copy of a JSON tree after each of the changes."""
    tree = {"": copy.deepcopy(tree)}
    for kind, place, value in changes:
        places = _places(tree)
        inner, key = places[place % len(places)]
        if kind == "put":
            inner[key] = copy.deepcopy(value)
        elif kind == "exchange":
            other, second = places[value % len(places)]
            inner[key] = copy.deepcopy(other[second])
        elif inner is tree:
            continue
        elif kind == "remove":
            del inner[key]
        elif kind == "twice" and isinstance(inner, list):
            inner.append(copy.deepcopy(inner[key]))
        elif kind == "rename" and isinstance(inner, dict):
            inner[value] = inner.pop(key)
    return tree[""]


def text_of(tree: Any) -> bytes:
    """JSON as a file has it, NaN and half surrogate pairs (as escapes) too."""
    return json.dumps(tree).encode("ascii")


@st.composite
def json_files(draw: st.DrawFn, seeds: list[Any]) -> bytes:
    """Files made of one of the seeds: changed as a tree, or as bytes, or nested deeply."""
    tree = changed_json(draw(st.sampled_from(seeds)), draw(json_changes))
    data = changed(text_of(tree), draw(st.one_of(st.just([]), byte_changes)))
    deep = draw(st.sampled_from([0, 0, 0, 0, 0, 0, 0, 0, 0, 100_000]))
    return b"[" * deep + data + b"]" * deep
