"""Packed weight files: changed as bytes, and changed within with a checksum and a fingerprint that fit again."""

from __future__ import annotations

import contextlib
import json
import zlib

from hypothesis import strategies as st

from experiments.benchmarks.fuzz_bytes import byte_changes, changed, changed_json, json_changes, text_of
from oarseg.inference.engines.packed.codec import decompressed
from oarseg.inference.engines.packed.layout import DIGEST, MAGIC, PREFIX, VERSION, checksum, fingerprint

START = PREFIX.size + DIGEST


def _deflated(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


def _whole(header: bytes, blobs: bytes, stored: bytes | None = None, plain: int | None = None) -> bytes:
    stored = _deflated(header) if stored is None else stored
    prefix = PREFIX.pack(MAGIC, VERSION, len(stored), len(header) if plain is None else plain, len(blobs))
    return prefix + checksum(prefix, stored + blobs) + stored + blobs


def _fitting(header: object) -> object:
    """The header with its fingerprint, where it has tensors at all."""
    with contextlib.suppress(TypeError, KeyError, ValueError, OverflowError, AttributeError):
        rows = header["tensors"]  # type: ignore[index]
        header["fingerprint"] = fingerprint((row["name"], row["shape"]) for row in rows)  # type: ignore[index]
    return header


@st.composite
def packed_files(draw: st.DrawFn, seed: bytes) -> bytes:
    """Of a valid file: other bytes; or another header or other blobs, whole in all else."""
    _, _, stored, plain, _ = PREFIX.unpack_from(seed)
    header = json.loads(decompressed("zlib", seed[START : START + stored], plain))
    blobs = seed[START + stored :]
    how = draw(st.sampled_from(["bytes", "header", "header", "header", "blobs", "deflated", "bomb"]))
    if how == "bytes":
        return changed(seed, draw(byte_changes))
    if how == "header":
        new = _fitting(changed_json(header, draw(json_changes)))
        return _whole(text_of(new), changed(blobs, draw(st.one_of(st.just([]), byte_changes))))
    if how == "blobs":
        return _whole(text_of(header), changed(blobs, draw(byte_changes)))
    if how == "deflated":
        return _whole(text_of(header), blobs, changed(_deflated(text_of(header)), draw(byte_changes)))
    # A header of 64 MiB of spaces in 64 kB; with a size that is stated, or not.
    large = b" " * (1 << 26)
    return _whole(large, blobs, _deflated(large), draw(st.sampled_from([None, 100, 1 << 22])))
