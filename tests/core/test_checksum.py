"""The checksum that a bundle's metadata names."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from oarseg.checksum import FILE, verified
from oarseg.errors import WeightsError


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    for part in (tmp_path / FILE, tmp_path / "configs/metadata.json"):
        part.parent.mkdir()
    (tmp_path / FILE).write_bytes(b"weights")
    return tmp_path


def test_the_weights_that_the_metadata_name(bundle: Path) -> None:
    wanted = hashlib.sha256(b"weights").hexdigest()
    (bundle / "configs/metadata.json").write_text(f'{{"weights_sha256": "{wanted}"}}')
    assert verified(bundle) == (bundle / FILE, wanted)
    (bundle / FILE).write_bytes(b"others")
    with pytest.raises(WeightsError, match="but the bundle's metadata names"):
        verified(bundle)


@pytest.mark.parametrize("text", ["", "[]", "null", "{}", '"a"', "5", "[" * 100_000])
def test_metadata_that_name_none(bundle: Path, text: str) -> None:
    (bundle / "configs/metadata.json").write_text(text)
    with pytest.raises(WeightsError, match="names no weights_sha256"):
        verified(bundle)
