"""Packed weight files as NumPy arrays: files may be damaged, of a later version, or hostile.

PyTorch is not imported (:mod:`oarseg.compression.loading` makes tensors of the arrays). Nothing in a file is believed
before its checksum fits, and nothing about sizes afterwards: a file can be made with a good checksum, so every size is
bounded before memory is taken for it.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np

from oarseg.errors import WeightsError
from oarseg.inference.engines.packed.codec import decompressed, packed_size, unpack_bits
from oarseg.inference.engines.packed.layout import (
    DIGEST,
    DTYPES,
    MAGIC,
    MOST_LEVELS,
    PREFIX,
    VERSION,
    bits,
    checksum,
    fingerprint,
)

# Several times what all the networks of a site have together.
MOST_VALUES = 2**26
MOST_HEADER = 2**22
MOST_FILE = 2**29
BLOBS = {"levels": 3, "plain": 1, "sparse": 2}


def read_arrays(path: str | Path) -> dict[str, np.ndarray]:
    """Return the state dict in a packed weight file, as arrays that may be read-only.

    Raises WeightsError where the file is missing, damaged, of a later version, or absurdly large.
    """
    path = Path(path)
    try:
        if path.stat().st_size > MOST_FILE:
            raise WeightsError(f"{path} has {path.stat().st_size} bytes; packed weights have {MOST_FILE} at most")
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise WeightsError(f"weights missing: {path}; pack them with the compression chain") from error
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}") from error
    try:
        return arrays(data)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error


def arrays(data: bytes) -> dict[str, np.ndarray]:
    """Return the state dict in the bytes of a packed weight file. Raises WeightsError as :func:`read_arrays` does."""
    header, blobs = _parts(data)
    place, state = 0, {}
    for row in _rows(header):
        parts = []
        for codec, size in row["blobs"]:
            parts.append((codec, blobs[place : place + size]))
            place += size
        state[row["name"]] = _array(row, parts)
    if place != len(blobs):
        raise WeightsError(f"the tensors take {place} bytes, the file holds {len(blobs)}")
    return state


def _parts(data: bytes) -> tuple[dict, bytes]:
    """Return header and blobs, after magic, version, length and checksum were found good."""
    if data[: len(MAGIC)] != MAGIC[: len(data)] or not data:
        raise WeightsError("not a packed weight file; it begins with other bytes")
    start = PREFIX.size + DIGEST
    if len(data) < start:
        raise WeightsError(f"truncated: {len(data)} bytes, not even a whole header; fetch it again")
    _, version, stored, plain, size = PREFIX.unpack_from(data)
    if version != VERSION:
        raise WeightsError(f"packed in version {version}, this oarseg reads version {VERSION}; update oarseg")
    if len(data) < start + stored + size:
        raise WeightsError(f"truncated: {len(data)} bytes of {start + stored + size}; fetch it again")
    if checksum(data[: PREFIX.size], data[start:]) != data[PREFIX.size : start]:
        raise WeightsError("damaged: its SHA-256 is not the one it names; fetch it again")
    if plain > MOST_HEADER:
        raise WeightsError(f"header of {plain} bytes; {MOST_HEADER} at most are believed")
    header = decompressed("zlib", data[start : start + stored], plain)
    try:
        return json.loads(header), data[start + stored :]
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"its header is no JSON: {type(error).__name__}") from error


def _rows(header: object) -> list[dict]:
    """Return the descriptions of the tensors, each checked; together they stay below ``MOST_VALUES``."""
    try:
        rows = header["tensors"]
        for row in rows:
            _check(row)
        # An empty tensor's other sizes count too: NumPy bounds them as well.
        total = sum(math.prod(max(n, 1) for n in row["shape"]) for row in rows)
        named = {row["name"] for row in rows}
        known = header["fingerprint"] == fingerprint((row["name"], row["shape"]) for row in rows)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise WeightsError(f"its header describes no tensors: {type(error).__name__} {error}"[:200]) from error
    if total > MOST_VALUES:
        raise WeightsError(f"{total} values; {MOST_VALUES} at most are believed")
    if len(named) != len(rows) or not known:
        raise WeightsError("its header contradicts itself: names twice, or another fingerprint")
    return rows


def _check(row: dict) -> None:
    """Raise ValueError (or what a wrong type raises) where a description is not sound."""
    kind = row["kind"]
    # A dictionary or a string has a length and can be empty, too.
    lists = [row["shape"], row["blobs"], *row["blobs"], *([row["scale"]] if kind == "levels" else ())]
    if not all(isinstance(found, list) for found in lists):
        raise ValueError("something else than a list")
    sizes = [*row["shape"], *(row["scale"] if kind == "levels" else ()), *(size for _, size in row["blobs"])]
    if any(type(n) is not int or not 0 <= n <= MOST_VALUES * 8 for n in sizes) or len(row["shape"]) > 8:
        raise ValueError(f"sizes {sizes[:12]}")
    if not isinstance(row["name"], str) or len(row["blobs"]) != BLOBS[kind]:
        raise ValueError(f"a tensor of kind {kind}")
    if kind == "levels":
        if type(row["levels"]) is not int or not 2 <= row["levels"] <= MOST_LEVELS:
            raise ValueError(f"{row['levels']} levels")
        if type(row["bits"]) is not int or row["bits"] not in (bits(row["levels"]), 8):
            raise ValueError(f"{row['bits']} bits for {row['levels']} levels")
        if len(row["scale"]) != len(row["shape"]):
            raise ValueError(f"scale of shape {row['scale']}")
        if any(s not in (1, n) for s, n in zip(row["scale"], row["shape"], strict=True)):
            raise ValueError(f"scale of shape {row['scale']}")
    elif row["dtype"] not in DTYPES:
        raise ValueError(f"dtype {row['dtype']}")


def _array(row: dict, parts: list[tuple[str, bytes]]) -> np.ndarray:
    """Return one tensor from its blobs."""
    count, shape = math.prod(row["shape"]), row["shape"]
    if row["kind"] == "levels":
        codes = unpack_bits(decompressed(*parts[0], packed_size(count, row["bits"])), row["bits"], count)
        if count and int(codes.max()) >= row["levels"]:
            raise WeightsError(f"{row['name']} has a code beyond its {row['levels']} levels")
        values = _numbers(parts[1], "float32", row["levels"])
        scale = _numbers(parts[2], "float32", math.prod(row["scale"])).reshape(row["scale"])
        return values[codes].reshape(shape) * scale
    if row["kind"] == "plain":
        return _numbers(parts[0], row["dtype"], count).reshape(shape)
    some = unpack_bits(decompressed(*parts[0], packed_size(count, 1)), 1, count).astype(bool)
    whole = np.zeros(count, row["dtype"])
    whole[some] = _numbers(parts[1], row["dtype"], int(some.sum()))
    return whole.reshape(shape)


def _numbers(part: tuple[str, bytes], dtype: str, count: int) -> np.ndarray:
    """Return ``count`` values of a type."""
    kind = np.dtype(dtype).newbyteorder("<")
    found = np.frombuffer(decompressed(*part, count * kind.itemsize), kind)
    return found.astype(kind.newbyteorder("="), copy=False)
