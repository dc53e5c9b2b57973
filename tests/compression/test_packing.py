"""Packed files give back what went in, bit by bit, and nothing else gets through."""

from __future__ import annotations

import hashlib
import json
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from oarseg.compression import (
    SCHEMES,
    hold,
    load_packed,
    packed,
    quantize,
    quantized,
    read_packed,
    release,
    threshold_masks,
    unpacked,
    write_packed,
)
from oarseg.errors import ConfigError, WeightsError
from oarseg.inference.engines.packed.codec import CODECS, compressed, decompressed, pack_bits, unpack_bits
from oarseg.inference.engines.packed.layout import DIGEST, PREFIX, VERSION
from oarseg.networks import UNet3d

START = PREFIX.size + DIGEST


def same(a: dict, b: dict) -> bool:
    """Bit by bit, types and shapes included."""
    return a.keys() == b.keys() and all(
        a[k].dtype == b[k].dtype and a[k].shape == b[k].shape
        and a[k].contiguous().numpy().tobytes() == b[k].contiguous().numpy().tobytes()
        for k in a
    )  # fmt: skip


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(
    ("count", "sparse"), [(2, False), (2, True), (3, False), (5, True), (7, False), (15, True), (31, False)]
)
def test_round_trip(small: UNet3d, image: torch.Tensor, tmp_path: Path, scheme: str, count: int, sparse: bool) -> None:
    if sparse:
        hold(small, threshold_masks(small, 0.05))
    quantize(small, count, scheme)
    kernels = quantized(small)
    expected = small(image)
    state = release(small).state_dict()
    size = write_packed(tmp_path / "model.packed", state, kernels)
    assert size == (tmp_path / "model.packed").stat().st_size
    assert same(read_packed(tmp_path / "model.packed", small), state)
    other = UNet3d(3, 8, 2, mean=0.3, std=0.2).eval()
    load_packed(other, tmp_path / "model.packed")
    assert torch.equal(other(image), expected)
    assert [path.name for path in tmp_path.iterdir()] == ["model.packed"]


def test_levels_cost_their_bits_and_zeros_little(shaken) -> None:
    network = shaken(UNet3d(9, 8, 2))
    weights = sum(p.numel() for p in network.parameters() if p.ndim == 5)
    quantize(network, 31, "layer")
    kernels = quantized(network)
    state = release(network).state_dict()
    dense, stored = len(packed(state, kernels)), len(packed(state, kernels, ("stored",)))
    assert weights * 5 / 8 < stored < weights * 5 / 8 + 20_000
    assert dense < stored
    # Weights beyond twice the standard deviation are left: 5 %.
    hold(network, threshold_masks(network, 0.2))
    quantize(network, 31, "layer")
    kernels = quantized(network)
    state = release(network).state_dict()
    assert len(packed(state, kernels)) < 0.3 * dense


def test_zeros_cost_little_among_floats(shaken) -> None:
    network = shaken(UNet3d(9, 8, 2))
    whole = len(packed(network.state_dict()))
    hold(network, threshold_masks(network, 0.2))
    assert len(packed(release(network).state_dict())) < 0.15 * whole


def test_any_state_dict(tmp_path: Path) -> None:
    state = {
        "count": torch.tensor(7),
        "empty": torch.zeros(0, 3),
        "half": torch.randn(3, 4).half(),
        "flags": torch.tensor([True, False, True]),
        "odd": torch.tensor([0.0, -0.0, torch.nan, torch.inf, 1e-42]),
        "mostly": torch.cat([torch.zeros(500), torch.tensor([-0.0, 2.5]), torch.zeros(500)]).double(),
        "turned": torch.arange(6, dtype=torch.int32).view(2, 3).t(),
    }
    assert same(unpacked(packed(state)), state)
    assert unpacked(packed({})) == {}
    with pytest.raises(ConfigError, match="x is of type bfloat16, which cannot be packed"):
        packed({"x": torch.zeros(2, dtype=torch.bfloat16)})


def test_kernels_must_be_the_states(small: UNet3d) -> None:
    quantize(small, 3, "layer")
    kernels = quantized(small)
    with pytest.raises(ConfigError, match="is not in the state dict; release the network"):
        packed(small.state_dict(), kernels)
    state = release(small).state_dict()
    with torch.no_grad():
        state["head.weight"].add_(0.1)
    with pytest.raises(ConfigError, match="head.weight is not what its levels stand for"):
        packed(state, kernels)


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("count", [0, 1, 7, 8, 1001])
def test_bits(bits: int, count: int) -> None:
    codes = np.random.default_rng(0).integers(0, 2**bits, count).astype(np.uint8)
    data = pack_bits(codes, bits)
    assert len(data) == -(-count * bits // 8)
    assert np.array_equal(unpack_bits(data, bits, count), codes)


@pytest.mark.parametrize("codec", CODECS)
def test_codecs_are_bounded(codec: str) -> None:
    data = bytes(100_000)
    _, small = compressed(data, (codec,))
    assert decompressed(codec, small, len(data)) == data
    for wrong in (0, 10, len(data) - 1, len(data) + 1):
        with pytest.raises(WeightsError, match="another number of bytes"):
            decompressed(codec, small, wrong)
    if codec != "stored":
        with pytest.raises(WeightsError):
            decompressed(codec, small[:-3], len(data))
        with pytest.raises(WeightsError):
            decompressed(codec, b"\xff" * 50, len(data))
    with pytest.raises(WeightsError, match="codec 'bz2' is unknown"):
        decompressed("bz2", small, len(data))


@pytest.fixture
def file(small: UNet3d) -> bytes:
    quantize(small, 7, "centres")
    kernels = quantized(small)
    return packed(release(small).state_dict(), kernels)


def test_every_truncation_is_named(file: bytes) -> None:
    with pytest.raises(WeightsError, match="not a packed weight file"):
        unpacked(b"")
    for size in (1, 7, 8, 30, START - 1, START, START + 10, len(file) // 2, len(file) - 1):
        with pytest.raises(WeightsError, match="truncated"):
            unpacked(file[:size])


def test_every_flipped_byte_is_found(file: bytes) -> None:
    places = [*range(START + 4), *range(START + 4, len(file), 997), len(file) - 1]
    for place in places:
        damaged = bytearray(file)
        damaged[place] ^= 0x10
        with pytest.raises(WeightsError):
            unpacked(bytes(damaged))
    with pytest.raises(WeightsError, match="damaged: its SHA-256"):
        unpacked(file + b"more")


def test_other_files_and_versions(file: bytes, tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1)}, tmp_path / "model.pt")
    with pytest.raises(WeightsError, match="model.pt: not a packed weight file"):
        read_packed(tmp_path / "model.pt")
    future = file[:8] + struct.pack("<H", VERSION + 1) + file[10:]
    with pytest.raises(WeightsError, match=f"version {VERSION + 1}, this oarseg reads version {VERSION}; update"):
        unpacked(future)
    with pytest.raises(WeightsError, match="weights missing"):
        read_packed(tmp_path / "none.packed")
    with pytest.raises(WeightsError, match="cannot be read"):
        read_packed(tmp_path)


def test_another_network(file: bytes, small: UNet3d) -> None:
    with pytest.raises(WeightsError, match=r"another network: \S+ is .* this network's is"):
        unpacked(file, UNet3d(3, 9, 2))
    with pytest.raises(WeightsError, match="0.0.weight is not there, this network's is"):
        unpacked(file, UNet3d(3, 8, 2).decoder)
    assert unpacked(file, small)


def forged(file: bytes, change) -> bytes:
    """A file whose header ``change`` has altered, with a checksum that fits: what a malicious author would make."""
    magic, version, stored, plain, size = PREFIX.unpack_from(file)
    header = json.loads(zlib.decompress(file[START : START + stored], -15))
    made = change(header)
    text = made if isinstance(made, bytes) else json.dumps(header).encode()
    coder = zlib.compressobj(9, zlib.DEFLATED, -15)
    small = coder.compress(text) + coder.flush()
    prefix = PREFIX.pack(magic, version, len(small), len(text), size)
    rest = small + file[START + stored :]
    return prefix + hashlib.sha256(prefix + rest).digest() + rest


def reprint(header: dict) -> None:
    """Make the fingerprint fit the tensors again."""
    lines = sorted(f"{t['name']} {'x'.join(str(n) for n in t['shape'])}" for t in header["tensors"])
    header["fingerprint"] = hashlib.sha256("\n".join(lines).encode()).hexdigest()


def first(header: dict, kind: str) -> dict:
    return next(tensor for tensor in header["tensors"] if tensor["kind"] == kind)


def enlarge(header: dict) -> None:
    first(header, "plain")["shape"] = [2**20, 2**20]
    reprint(header)


def widen(header: dict) -> None:
    first(header, "plain")["shape"] = [5000, 5000]
    reprint(header)


def empty(header: dict) -> None:
    first(header, "plain")["shape"] = [0, *[2**29] * 7]
    reprint(header)


def scalar(header: dict, shape: object) -> None:
    next(t for t in header["tensors"] if t["shape"] == []).update(shape=shape)
    reprint(header)


FORGERIES = {
    "nothing, hugely": (empty, "values; 67108864 at most"),
    "petabytes": (enlarge, "values; 67108864 at most"),
    "more values than the blob has": (widen, "another number of bytes"),
    "negative": (lambda h: first(h, "plain").update(shape=[-5]), "describes no tensors"),
    "fraction": (lambda h: first(h, "plain").update(shape=[1.5]), "describes no tensors"),
    "dtype": (lambda h: first(h, "plain").update(dtype="object"), "describes no tensors"),
    "kind": (lambda h: first(h, "plain").update(kind="pickle"), "describes no tensors"),
    "bits": (lambda h: first(h, "levels").update(bits=2), "describes no tensors"),
    "levels": (lambda h: first(h, "levels").update(levels=5), "beyond|another number of bytes"),
    "scale": (lambda h: first(h, "levels").update(scale=[99, 1, 1, 1, 1]), "describes no tensors"),
    "bits, a fraction": (lambda h: first(h, "levels").update(bits=8.0), "describes no tensors"),
    "bits, a truth value": (lambda h: first(h, "levels").update(levels=2, bits=True), "describes no tensors"),
    "shape, no list": (lambda h: scalar(h, shape={}), "describes no tensors"),
    "shape, a text": (lambda h: scalar(h, shape=""), "describes no tensors"),
    "scale, no list": (lambda h: (first(h, "levels").update(shape=[], scale={}), reprint(h)), "describes no tensors"),
    "blob, a text": (lambda h: first(h, "plain").update(blobs=["ab"]), "describes no tensors"),
    "codec, no text": (lambda h: first(h, "plain")["blobs"][0].__setitem__(0, ["zlib"]), "is unknown; known"),
    "codec": (lambda h: first(h, "levels")["blobs"][0].__setitem__(0, "bz2"), "codec 'bz2' is unknown"),
    "blob beyond the end": (lambda h: h["tensors"][-1]["blobs"][0].__setitem__(1, 10**6), "hold another|damaged|take"),
    "blobs": (lambda h: first(h, "plain").update(blobs=[]), "describes no tensors"),
    "name twice": (lambda h: h["tensors"].append(h["tensors"][0]), "contradicts itself"),
    "fingerprint": (lambda h: h.update(fingerprint="0" * 64), "contradicts itself"),
    "no tensors": (lambda h: h.pop("tensors"), "describes no tensors"),
    "a list": (lambda h: b"[1, 2]", "describes no tensors"),
    "no JSON": (lambda h: b"\xff\xfe", "no JSON"),
    "deep": (lambda h: b"[" * 10**6, "no JSON"),
    "long header": (lambda h: b" " * 2**23, "at most are believed"),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_forgeries_with_a_good_checksum(file: bytes, name: str) -> None:
    change, message = FORGERIES[name]
    with pytest.raises(WeightsError, match=message):
        unpacked(forged(file, change))
    assert unpacked(forged(file, lambda header: None))


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.packed"
    with open(path, "wb") as sparse:
        sparse.truncate(2**29 + 1)
    with pytest.raises(WeightsError, match="536870913 bytes"):
        read_packed(path)


def test_arrays_need_no_torch(file: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.packed").write_bytes(file)
    program = (
        "import sys; from oarseg.inference.engines.packed.reading import read_arrays\n"
        "state = read_arrays(sys.argv[1])\n"
        "print(len(state), state['head.weight'].dtype, [m for m in ('torch', 'monai', 'scipy') if m in sys.modules])"
    )
    run = [sys.executable, "-c", program, str(tmp_path / "model.packed")]
    found = subprocess.run(run, capture_output=True, text=True, check=True).stdout
    assert found.strip() == f"{len(unpacked(file))} float32 []"
