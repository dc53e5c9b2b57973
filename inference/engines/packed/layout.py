"""What a packed weight file looks like: shared by writing and reading. PyTorch is not imported.

Layout, little-endian::

    8 bytes   magic "OARSEGW" and a line feed
    2 bytes   version
    4 + 4     size of the header as it lies here, and plain
    8 bytes   size of the blobs
    32 bytes  SHA-256 of all the rest of the file
    header    JSON, deflated: the network's fingerprint, and a list of tensors with their blobs' codecs and sizes
    blobs     one after another

A tensor is of one of three kinds. "levels" has three blobs: codes in ceil(log2 n) bits or in bytes, whichever ends up
smaller; the n levels; the scale. "plain" has one, its values. "sparse" has a bit for each value and the values that
are not zero. What comes back is bit by bit what went in.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable

MAGIC, VERSION = b"OARSEGW\n", 1
PREFIX = struct.Struct("<8sHIIQ")
DIGEST = 32
DTYPES = ("float32", "float16", "float64", "int64", "int32", "uint8", "bool")
SUFFIX = ".packed"
# Levels of a kernel, a zero that masks add included: codes are bytes.
MOST_LEVELS = 256


def bits(count: int) -> int:
    """Return ceil(log2 count): the bits of a level before entropy coding."""
    return max(1, (count - 1).bit_length())


def fingerprint(tensors: Iterable[tuple[str, Iterable[int]]]) -> str:
    """Return the SHA-256 of the names and shapes of a state dict, in any order: it tells networks apart."""
    lines = sorted(f"{name} {'x'.join(str(int(n)) for n in shape)}" for name, shape in tensors)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def checksum(prefix: bytes, rest: bytes) -> bytes:
    """Return the SHA-256 of a file without the checksum in it."""
    return hashlib.sha256(prefix + rest).digest()
