"""DICOM files with elements removed, repeated, of another VR, length or value; written by an encoder of its own.

pydicom's would refuse, or mend, most of them.
"""

from __future__ import annotations

import dataclasses
import functools
import io
import struct
import zlib
from dataclasses import dataclass
from typing import Any

import pydicom
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.filewriter import write_dataset

from experiments.benchmarks.fuzz_bytes import MOST, PLACES, byte_changes, changed

LONG = ("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV")
VRS = ("AE", "AS", "AT", "CS", "DA", "DS", "DT", "FD", "FL", "IS", "LO", "LT", "OB", "OW", "PN", "SH", "SL", "SQ",
       "SS", "ST", "TM", "UI", "UL", "UN", "US", "UT", "UV", "SV", "ZZ", "\0\0", "..")  # fmt: skip
SYNTAXES = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99",
            "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.80",
            "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.201", "1.2.3", "")  # fmt: skip
UNDEFINED = 0xFFFFFFFF
LENGTHS = (0, 1, 2, 255, 65534, 65535, 1 << 20, 2**31, UNDEFINED - 1, UNDEFINED)
DEFLATED = b"1.2.840.10008.1.2.1.99"


@functools.cache
def _bomb() -> bytes:
    """Half a gigabyte of zeros, deflated."""
    packer = zlib.compressobj(wbits=-15)
    # In pieces: the zeros themselves would fill this side's memory.
    return b"".join([*(packer.compress(bytes(1 << 20)) for _ in range(512)), packer.flush()])


@dataclass(frozen=True)
class Row:
    """An element. ``value``: bytes, or items, each a list of rows. ``claimed``: a length that it does not have."""

    tag: int
    vr: str
    value: bytes | list[list[Row]]
    claimed: int | None = None


def rows_of(dataset: Dataset) -> list[Row]:
    """The elements of a data set."""
    found = []
    for element in dataset:
        if element.VR == "SQ":
            found.append(Row(int(element.tag), "SQ", [rows_of(item) for item in element.value]))
            continue
        buffer = pydicom.filebase.DicomBytesIO()
        buffer.is_little_endian, buffer.is_implicit_VR = True, True
        one = Dataset()
        one.add(element)
        write_dataset(buffer, one)
        claimed = UNDEFINED if element.is_undefined_length else None
        found.append(Row(int(element.tag), str(element.VR), buffer.getvalue()[8:], claimed))
    return found


def encoded(rows: list[Row], implicit: bool) -> bytes:
    """Little endian, explicit or implicit VR."""
    parts = []
    for row in rows:
        value = row.value
        if isinstance(value, list):
            items = [encoded(item, implicit) for item in value]
            value = b"".join(struct.pack("<HHL", 0xFFFE, 0xE000, len(item)) + item for item in items)
        length = len(value) if row.claimed is None else row.claimed
        tag = struct.pack("<HH", row.tag >> 16, row.tag & 0xFFFF)
        if implicit:
            parts.append(tag + struct.pack("<L", length & UNDEFINED) + value)
        elif row.vr in LONG:
            parts.append(tag + row.vr.encode("latin-1") + struct.pack("<HL", 0, length & UNDEFINED) + value)
        else:
            parts.append(tag + row.vr.encode("latin-1") + struct.pack("<H", length & 0xFFFF) + value)
    return b"".join(parts)


@dataclass(frozen=True)
class Seed:
    """A valid file, as rows."""

    meta: list[Row]
    rows: list[Row]

    @classmethod
    def of(cls, dataset: Dataset) -> Seed:
        """Of a data set that could be written; its pixels keep their encoding."""
        buffer = io.BytesIO()
        dataset.save_as(buffer, enforce_file_format=True)
        buffer.seek(0)
        again = pydicom.dcmread(buffer)
        return cls(rows_of(again.file_meta), rows_of(again))


def file_of(seed: Seed, bomb: bool = False) -> bytes:
    """A file. ``bomb``: half a gigabyte of zeros follows the data set where it is deflated."""
    syntax = next((row.value.strip(b"\0 ") for row in seed.meta if row.tag == 0x00020010 and row.value), b"")
    body = encoded(seed.rows, syntax == SYNTAXES[0].encode())
    if syntax == DEFLATED:
        packer = zlib.compressobj(wbits=-15)
        body = (
            packer.compress(body)
            + packer.flush(zlib.Z_FULL_FLUSH if bomb else zlib.Z_FINISH)
            + (_bomb() if bomb else b"")
        )
    return bytes(128) + b"DICM" + encoded(seed.meta, False) + body


odd_bytes = st.one_of(
    st.sampled_from(
        [b"", b"\0", b"nan", b"inf", b"-inf", b"1e400", b"1e308", b"-1", b"0", b"-0.0", b"1\\2",
         b"1\\2\\3", b"\\",         b"\\\\\\", b"\xb2", b"\xff" * 8, b"\0" * 8, b"9" * 5000, b"1" * 17, b"abc",
         b"A" * 66_000, b" ", b"1e-320", b"1\\nan\\3",
         b"0\\0\\0\\0\\0\\0", b"1\\0\\0\\0\\1\\0", b"1e8\\1e8\\1e8", b"1_0", b"0x10", b"MONOCHROME1", b"LOCALIZER",
         b"\x1b$B", b"1.2.840.10008.5.1.4.1.1.2.1", b"ISO 2022 IR 87\\ISO_IR 192", b"NO_SUCH_CHARSET"]
    ),
    st.sampled_from([struct.pack("<H", n) for n in (0, 1, 2, 7, 8, 12, 16, 32, 64, 255, 65535)]),
    st.sampled_from([struct.pack("<L", n) for n in (0, 1, 65536, 2**31, UNDEFINED)]),
    st.sampled_from([struct.pack("<d", x) for x in (0.0, 0.5, 8.5, float("nan"), float("inf"), 1e300)]),
    st.sampled_from([text.encode() for text in SYNTAXES]),
    st.binary(max_size=40),
)  # fmt: skip
row_change = st.one_of(
    st.tuples(st.just("remove"), PLACES, st.none()),
    st.tuples(st.just("twice"), PLACES, st.none()),
    st.tuples(st.just("value"), PLACES, odd_bytes),
    st.tuples(st.just("vr"), PLACES, st.sampled_from(VRS)),
    st.tuples(st.just("claim"), PLACES, st.sampled_from(LENGTHS)),
    st.tuples(st.just("from"), PLACES, PLACES),
    st.tuples(st.just("items"), PLACES, st.sampled_from([0, 2, 40])),
)  # fmt: skip
row_changes = st.lists(row_change, max_size=MOST)
# An element's value and its VR, changed together: what a VR allows is decoded by another path then.
typed_change = st.tuples(PLACES, st.sampled_from(VRS), odd_bytes)


def _paths(rows: list[Row], path: tuple = ()) -> list[tuple]:
    """Where each element is: indices of rows and items in turn."""
    found = []
    for n, row in enumerate(rows):
        found.append((*path, n))
        if isinstance(row.value, list):
            for k, item in enumerate(row.value):
                found += _paths(item, (*path, n, k))
    return found


def _at(rows: list[Row], path: tuple) -> Row:
    row = rows[path[0]]
    return row if len(path) == 1 else _at(row.value[path[1]], path[2:])  # type: ignore[index]


def _put(rows: list[Row], path: tuple, new: list[Row]) -> list[Row]:
    """The rows with ``new`` in the place of the one at ``path``."""
    n = path[0]
    if len(path) == 1:
        return [*rows[:n], *new, *rows[n + 1 :]]
    items = list(rows[n].value)
    items[path[1]] = _put(items[path[1]], path[2:], new)  # type: ignore[arg-type]
    return [*rows[:n], dataclasses.replace(rows[n], value=items), *rows[n + 1 :]]


def changed_rows(rows: list[Row], changes: list[tuple]) -> list[Row]:
    """The rows after each of the changes."""
    for kind, place, value in changes:
        paths = _paths(rows)
        if not paths:
            return rows
        path = paths[place % len(paths)]
        row = _at(rows, path)
        new: dict[str, Any] = {"remove": [], "twice": [row, row]}
        if kind in new:
            rows = _put(rows, path, new[kind])
        elif kind == "from":
            other = _at(rows, paths[value % len(paths)])
            # An element within itself would have no end.
            plain = isinstance(other.value, bytes)
            rows = _put(rows, path, [dataclasses.replace(row, value=other.value if plain else b"")])
        elif kind == "items":
            repeated = row.value * value if isinstance(row.value, list) and len(row.value) < 50 else row.value
            rows = _put(rows, path, [dataclasses.replace(row, value=repeated)])
        else:
            field = {"value": "value", "vr": "vr", "claim": "claimed"}[kind]
            rows = _put(rows, path, [dataclasses.replace(row, **{field: value})])
    return rows


@st.composite
def files(draw: st.DrawFn, seeds: list[Seed]) -> bytes:
    """Files made of one of the seeds."""
    seed = draw(st.sampled_from(seeds))
    rows = changed_rows(seed.rows, draw(row_changes))
    for place, vr, value in draw(st.lists(typed_change, max_size=1)):
        paths = _paths(rows)
        if paths:
            path = paths[place % len(paths)]
            rows = _put(rows, path, [dataclasses.replace(_at(rows, path), vr=vr, value=value)])
    # Most files keep their meta information: without it no reader looks further.
    meta = changed_rows(seed.meta, draw(st.one_of(st.just([]), st.just([]), st.just([]), row_changes)))
    data = file_of(Seed(meta, rows), draw(st.sampled_from([False] * 9 + [True])))
    return changed(data, draw(st.one_of(st.just([]), st.just([]), byte_changes)))
