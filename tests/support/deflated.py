"""Deflated DICOM files that inflate to far more than they are."""

from __future__ import annotations

import zlib
from pathlib import Path


def inflate_more(path: Path, mib: int) -> None:
    """Let a deflated file of a few kB go on, with zeros, for ``mib`` MiB: millions of empty elements."""
    whole = path.read_bytes()
    # Preamble, and the group of the file meta information, whose first element tells its length.
    meta = 132 + 12 + int.from_bytes(whole[140:144], "little")
    packer = zlib.compressobj(wbits=-15)
    pieces = [packer.compress(zlib.decompress(whole[meta:], -15))]
    pieces += [packer.compress(bytes(1 << 20)) for _ in range(mib)]
    path.write_bytes(whole[:meta] + b"".join(pieces) + packer.flush())
