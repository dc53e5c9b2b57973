"""The packed weight file: levels in few bits, entropy-coded, without pickle.

See :mod:`oarseg.inference.engines.packed.layout` for what it looks like. What comes back is bit by bit what went in.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from torch import Tensor

from oarseg.compression.fake_quantize import Quantized
from oarseg.errors import ConfigError
from oarseg.files import write_bytes
from oarseg.inference.engines.packed.codec import CODECS, compressed, pack_bits
from oarseg.inference.engines.packed.layout import DTYPES, MAGIC, PREFIX, VERSION, bits, checksum, fingerprint


def packed(
    state: Mapping[str, Tensor], kernels: Mapping[str, Quantized] | None = None, codecs: tuple[str, ...] = CODECS
) -> bytes:
    """Return the content of a packed weight file.

    Args: ``state``: plain state dict (:func:`oarseg.compression.release` makes it so). ``kernels``: those of its
    tensors that are quantized (:func:`oarseg.compression.quantized`). ``codecs``: which to try; for comparisons.
    Raises ConfigError where a quantized kernel is not the state's, or a tensor is of a kind that cannot be stored.
    """
    kernels = dict(kernels or {})
    unknown = sorted(set(kernels) - set(state))
    if unknown:
        raise ConfigError(f"quantized kernel {unknown[0]} is not in the state dict; release the network's masks first")
    rows, blobs = [], []
    for name, tensor in state.items():
        row, parts = _levels(name, tensor, kernels[name], codecs) if name in kernels else _values(name, tensor, codecs)
        row |= {"blobs": [[codec, len(data)] for codec, data in parts]}
        rows.append({"name": name, "shape": list(tensor.shape)} | row)
        blobs += [data for _, data in parts]
    header = {"fingerprint": fingerprint((row["name"], row["shape"]) for row in rows), "tensors": rows}
    return _file(json.dumps(header, separators=(",", ":")).encode(), b"".join(blobs))


def write_packed(
    path: str | Path, state: Mapping[str, Tensor], kernels: Mapping[str, Quantized] | None = None
) -> int:
    """Write a packed weight file, whole or not at all; return its bytes."""
    data = packed(state, kernels)
    write_bytes(path, data)
    return len(data)


def _file(header: bytes, blobs: bytes) -> bytes:
    stored = compressed(header, ("zlib",))[1]
    prefix = PREFIX.pack(MAGIC, VERSION, len(stored), len(header), len(blobs))
    rest = stored + blobs
    return prefix + checksum(prefix, rest) + rest


def _levels(name: str, tensor: Tensor, kernel: Quantized, codecs: tuple[str, ...]) -> tuple[dict, list]:
    """Description and blobs of a quantized kernel."""
    if not kernel.weight().equal(tensor.detach().float()):
        raise ConfigError(f"{name} is not what its levels stand for; pack the released state dict of the same network")
    codes, count = _array(kernel.codes), len(kernel.values)
    tried = {width: compressed(pack_bits(codes, width), codecs) for width in {bits(count), 8}}
    width = min(tried, key=lambda width: len(tried[width][1]))
    rest = [compressed(_array(t.float()).tobytes(), codecs) for t in (kernel.values, kernel.scale)]
    row = {"kind": "levels", "levels": count, "bits": width, "scale": list(kernel.scale.shape)}
    return row, [tried[width], *rest]


def _values(name: str, tensor: Tensor, codecs: tuple[str, ...]) -> tuple[dict, list]:
    """Description and blobs of any other tensor."""
    dtype = str(tensor.dtype).removeprefix("torch.")
    if dtype not in DTYPES:
        raise ConfigError(f"{name} is of type {dtype}, which cannot be packed; make it one of {', '.join(DTYPES)}")
    values = _array(tensor)
    plain = [compressed(values.tobytes(), codecs)]
    # By their bits, so that a negative zero is one of the values that are not zero.
    some = values.view(np.uint8).reshape(values.size, values.itemsize).any(axis=1)
    sparse = [compressed(np.packbits(some).tobytes(), codecs), compressed(values[some].tobytes(), codecs)]
    kind, parts = min((("plain", plain), ("sparse", sparse)), key=lambda pair: sum(len(data) for _, data in pair[1]))
    return {"kind": kind, "dtype": dtype}, parts


def _array(tensor: Tensor) -> np.ndarray:
    """Flat little-endian values."""
    values = np.ascontiguousarray(tensor.detach().cpu().numpy()).reshape(-1)
    return values.astype(values.dtype.newbyteorder("<"), copy=False)
