"""Bytes made small by the codecs of Python's standard library, and codes packed into bits.

Weights are close to independent draws, so what a codec can win is their entropy: LZMA's adaptive range coder without
contexts (lc, lp and pb 0) comes closest to it, Deflate's Huffman codes next. The smallest is kept, plain bytes
included.
"""

from __future__ import annotations

import lzma
import zlib

import numpy as np

from oarseg.errors import WeightsError

CODECS = ("stored", "zlib", "lzma")
# A small dictionary, as there is little to repeat: whoever unpacks needs no more than this much memory. The depth
# bounds the search for repetitions, which takes minutes in binary weights and finds next to nothing.
_LZMA = [{"id": lzma.FILTER_LZMA2, "preset": 9, "depth": 16, "dict_size": 1 << 20, "lc": 0, "lp": 0, "pb": 0}]


def compressed(data: bytes, codecs: tuple[str, ...] = CODECS) -> tuple[str, bytes]:
    """Return the codec, of ``codecs``, that makes ``data`` smallest, and the bytes it makes."""
    return min(((codec, _encoders[codec](data)) for codec in codecs), key=lambda pair: len(pair[1]))


def decompressed(codec: str, data: bytes, size: int) -> bytes:
    """Return the ``size`` bytes that ``data`` holds; no more than one beyond them are ever produced.

    Raises WeightsError where they are more or fewer, or ``data`` is none of the codec's.
    """
    if codec not in CODECS:
        raise WeightsError(f"codec {str(codec)[:20]!r} is unknown; known: {', '.join(CODECS)}")
    try:
        found, ended = _decode(codec, data, size + 1)
    except (zlib.error, lzma.LZMAError, EOFError) as error:
        raise WeightsError(f"{codec} data are damaged: {error}") from error
    if len(found) != size or not ended:
        raise WeightsError(f"{codec} data hold another number of bytes than the {size} expected")
    return found


def pack_bits(codes: np.ndarray, bits: int) -> bytes:
    """Return ``codes`` (uint8, below 2 ** bits) with ``bits`` bits each, most significant first.

    The last byte is filled up. Eight bits are plain bytes.
    """
    return np.packbits(np.unpackbits(codes.reshape(-1, 1), axis=1)[:, 8 - bits :]).tobytes()


def unpack_bits(data: bytes, bits: int, count: int) -> np.ndarray:
    """Return the ``count`` codes (uint8) that :func:`pack_bits` packed."""
    flat = np.unpackbits(np.frombuffer(data, np.uint8), count=count * bits).reshape(count, bits)
    return np.packbits(np.pad(flat, ((0, 0), (8 - bits, 0))), axis=1)[:, 0] if count else np.zeros(0, np.uint8)


def packed_size(count: int, bits: int) -> int:
    """Return bytes of ``count`` codes of ``bits`` bits."""
    return -(-count * bits // 8)


def _zlib(data: bytes) -> bytes:
    made = []
    for strategy in (zlib.Z_HUFFMAN_ONLY, zlib.Z_RLE):
        coder = zlib.compressobj(9, zlib.DEFLATED, -15, 9, strategy)
        made.append(coder.compress(data) + coder.flush())
    return min(made, key=len)


def _decode(codec: str, data: bytes, most: int) -> tuple[bytes, bool]:
    """Return at most ``most`` bytes, and whether ``data`` ended with them."""
    if codec == "stored":
        return data[:most], True
    coder = zlib.decompressobj(-15) if codec == "zlib" else lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=_LZMA)
    found = coder.decompress(data, most)
    return found, coder.eof and not coder.unused_data


_encoders = {
    "stored": bytes,
    "zlib": _zlib,
    "lzma": lambda data: lzma.compress(data, lzma.FORMAT_RAW, filters=_LZMA),
}
