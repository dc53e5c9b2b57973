"""The frame header of JPEG and JPEG-LS is the one that the decoder will see, and says what the slice's header says."""

from __future__ import annotations

import io
import struct
from types import SimpleNamespace

import numpy as np
import pytest

from oarseg.dicom.guards.jpeg import check_stream
from oarseg.errors import InputError

SIZE = (40, 24)
START = b"\xff\xd8"


def header(width: int = SIZE[0], height: int = SIZE[1], **tags: str) -> SimpleNamespace:
    """What is read of a slice's header."""
    return SimpleNamespace(
        path=SimpleNamespace(name="a.dcm"), size=(height, width), text=lambda key: tags.get(key, "")
    )


def frame(marker: int = 0xC3, bits: int = 16, size: tuple[int, int] = SIZE, components: int = 1) -> bytes:
    head = struct.pack(">BBHBHHB", 0xFF, marker, 8 + 3 * components, bits, size[1], size[0], components)
    return head + bytes(3 * components)


def segment(marker: int, content: bytes = b"") -> bytes:
    return struct.pack(">BBH", 0xFF, marker, 2 + len(content)) + content


SCAN = segment(0xDA, bytes(6)) + bytes(20) + b"\xff\xd9"


@pytest.mark.parametrize("progressive", [False, True])
def test_what_an_encoder_writes(progressive: bool) -> None:
    """With applications' data and tables before the frame header."""
    image = pytest.importorskip("PIL.Image")
    file = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 255, SIZE[::-1], dtype=np.uint8)
    image.fromarray(pixels).save(file, "JPEG", progressive=progressive, comment=b"\xff\xc0 of another size")
    stream = file.getvalue()
    assert stream[2:4] == b"\xff\xe0" and b"\xff\xdb" in stream
    check_stream(stream, header())
    with pytest.raises(InputError, match="is 40 x 24 of 1 sample.* says 24 x 40 of one"):
        check_stream(stream, header(*SIZE[::-1]))


@pytest.mark.parametrize("before", [
    b"", b"\xff\xff\xff", segment(0xC4, bytes(20)), segment(0xDD, b"\0\0"), segment(0xEF), segment(0xF8, b"\1"),
    segment(0xFE, frame(size=(9999, 9999))), segment(0xDB, bytes(65)) + b"\xff" + segment(0xCC, b"ab"),
])  # fmt: skip
@pytest.mark.parametrize("marker", [0xC0, 0xC1, 0xC2, 0xC3, 0xF7])
def test_what_may_come_before_it(before: bytes, marker: int) -> None:
    check_stream(START + before + frame(marker) + SCAN, header())
    check_stream(START + frame(marker) + before + SCAN, header())
    with pytest.raises(InputError, match="is 60000 x 60000 of 1 sample"):
        check_stream(START + before + frame(marker, size=(60000, 60000)), header())
    with pytest.raises(InputError, match="is 40 x 24 of 3 sample"):
        check_stream(START + before + frame(marker, components=3), header())


# A decoder leaves these out, and would find the frame header that follows at once: they have no length.
@pytest.mark.parametrize("marker", [0x01, *range(0xD0, 0xD8)])
def test_a_marker_without_a_length_hides_no_frame_header(marker: int) -> None:
    large = frame(size=(60000, 60000))
    as_length = int.from_bytes(large[:2], "big")
    stream = START + bytes([0xFF, marker]) + large + bytes(as_length - len(large)) + frame() + SCAN
    with pytest.raises(InputError, match="damaged"):
        check_stream(stream, header())


@pytest.mark.parametrize("marker", [0xC0, 0xC2, 0xC3, 0xF7])
def test_a_second_frame_header(marker: int) -> None:
    """Which of them a decoder goes by is the decoder's affair."""
    with pytest.raises(InputError, match="damaged"):
        check_stream(START + frame() + frame(marker, size=(60000, 60000)) + SCAN, header())


def test_scans_without_end() -> None:
    check_stream(START + frame(0xC2) + 10 * SCAN, header())
    with pytest.raises(InputError, match="damaged"):
        check_stream(START + frame(0xC2) + 1000 * SCAN, header())


@pytest.mark.parametrize("marker", [0xD8, 0xD9, 0xDA, 0xDC, 0xDE, 0xDF, 0x02, 0xC8, 0xF0, 0xFD, 0x00])
def test_other_markers_are_refused(marker: int) -> None:
    with pytest.raises(InputError, match="damaged"):
        check_stream(START + segment(marker, bytes(10)) + frame() + SCAN, header())


@pytest.mark.parametrize(
    ("stream", "said"),
    [
        (b"", "no JPEG"),
        (b"\xff\x4f\xff\x51", "no JPEG"),
        (START, "cut short"),
        (START + frame()[:9], "cut short"),
        (START + frame(), "cut short"),
        (START + segment(0xE0, bytes(50)), "cut short"),
        (START + b"\xff" * 1000, "cut short"),
        (START + bytes(40), "damaged"),
        (START + b"\xff\xe0\0\1" + frame() + SCAN, "damaged"),
    ],
)
def test_damage(stream: bytes, said: str) -> None:
    with pytest.raises(InputError, match=f"a.dcm: .*{said}"):
        check_stream(stream, header())


def test_the_sign_is_a_bit_of_the_image() -> None:
    signed = header(PixelRepresentation="1", BitsStored="16")
    check_stream(START + frame(bits=16) + SCAN, signed)
    check_stream(START + frame(bits=12) + SCAN, header(PixelRepresentation="0", BitsStored="16"))
    check_stream(START + frame(bits=16) + SCAN, header(PixelRepresentation="1", BitsStored="12"))
    with pytest.raises(InputError, match="has 12 bits, its signed values 16"):
        check_stream(START + frame(bits=12) + SCAN, signed)
