"""CSV tables and TOML settings: cells and values replaced by odd ones, lines lost and repeated, other bytes."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from hypothesis import strategies as st

import oarseg.node.config as node
from experiments.benchmarks import fuzz_seeds as seeds
from experiments.benchmarks.fuzz_bytes import PLACES, byte_changes, changed, odd_text
from experiments.localization.store import BOXES, SHIFTS

line_changes = st.lists(
    st.tuples(st.sampled_from(["remove", "twice", "value", "value", "value"]), PLACES, PLACES, odd_text), max_size=3
)


def _head(path: Path, lines: int = 4) -> bytes:
    return b"".join(path.read_bytes().splitlines(keepends=True)[:lines])


TABLES = {"scores": seeds.SCORES, "boxes": _head(BOXES), "shifts": _head(SHIFTS)}


@st.composite
def csv_files(draw: st.DrawFn) -> tuple[str, bytes]:
    """The table's name and its bytes."""
    name = draw(st.sampled_from(sorted(TABLES)))
    rows = list(csv.reader(io.StringIO(TABLES[name].decode())))
    for kind, line, column, text in draw(line_changes):
        n = line % len(rows) if rows else 0
        if kind == "remove" and rows:
            del rows[n]
        elif kind == "twice" and rows:
            rows.insert(n, list(rows[n]))
        elif rows and rows[n]:
            rows[n][column % len(rows[n])] = text
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    data = buffer.getvalue().encode("utf-8", "surrogatepass")
    return name, changed(data, draw(st.one_of(st.just([]), byte_changes)))


odd_toml = st.one_of(
    st.sampled_from(
        ["", "nan", "-inf", "1" + "0" * 400, "-1", "0", "1e400", "true", "[]", "{}", '""', '"\\u0000"', "[[]]",
         "1979-05-27",
         '"' + "a" * 5000 + '"', '["*", 5]', "0x7fffffffffffffff", "65536", '"256.0.0.1"', '"fe80::1%eth0"', '["\\n"]',
         "[" * 5000, "{a = 1}", '"../../x"', "'''", "9" * 5000, '["seg"]', '["0.0.0.0/0"]', '"::1"']
    ),
    odd_text.map(lambda text: '"' + text.encode("unicode_escape").decode().replace('"', "") + '"'),
)  # fmt: skip


@st.composite
def toml_files(draw: st.DrawFn) -> bytes:
    """The example with other values."""
    # Comments off, so that every setting is there to be changed.
    lines = [line for line in node.EXAMPLE.read_text(encoding="utf-8").splitlines() if line.strip()]
    lines = [line.removeprefix("# ") if line.startswith("# ") and "=" in line else line for line in lines]
    lines = [line for line in lines if not line.startswith("#")]
    for kind, place, _, _ in draw(line_changes):
        n = place % len(lines) if lines else 0
        if kind == "remove" and lines:
            del lines[n]
        elif kind == "twice" and lines:
            lines.insert(n, lines[n])
        elif lines and "=" in lines[n]:
            lines[n] = lines[n].partition("=")[0] + "= " + draw(odd_toml)
    data = "\n".join(lines).encode("utf-8", "surrogatepass")
    return changed(data, draw(st.one_of(st.just([]), byte_changes)))
