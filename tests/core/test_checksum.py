"""The checksum that a bundle's metadata names."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from oarseg.checksum import FILE, METADATA, has_weights, part_files, sha256_of_parts, verified, weights_size
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
    with pytest.raises(WeightsError, match="but the metadata of .* names"):
        verified(bundle)


@pytest.mark.parametrize("text", ["", "[]", "null", "{}", '"a"', "5", "[" * 100_000])
def test_metadata_that_name_none(bundle: Path, text: str) -> None:
    (bundle / "configs/metadata.json").write_text(text)
    with pytest.raises(WeightsError, match="names no weights_sha256"):
        verified(bundle)


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """A two-stage bundle without a file of its own, two parts beside it."""
    parts = {"localizer": b"one", "organs.eye_left": b"two"}
    entry = {
        prefix: {"bundle": f"part_{prefix}", "sha256": hashlib.sha256(data).hexdigest()}
        for prefix, data in parts.items()
    }
    for prefix, data in parts.items():
        part = tmp_path / entry[prefix]["bundle"]
        for name in ("configs", "models"):
            (part / name).mkdir(parents=True)
        (part / FILE).write_bytes(data)
        (part / METADATA).write_text(json.dumps({"weights_sha256": entry[prefix]["sha256"]}))
    (tmp_path / "whole/configs").mkdir(parents=True)
    meta = {"weights_sha256": sha256_of_parts(entry), "weights_parts": entry}
    (tmp_path / "whole" / METADATA).write_text(json.dumps(meta))
    return tmp_path / "whole"


def test_weights_in_parts(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [
        f"{prefix} {hashlib.sha256(data).hexdigest()}\n"
        for prefix, data in (("localizer", b"one"), ("organs.eye_left", b"two"))
    ]
    assert verified(whole) == (whole / FILE, hashlib.sha256("".join(texts).encode()).hexdigest())
    files = {prefix: whole.parent / f"part_{prefix}" / FILE for prefix in ("localizer", "organs.eye_left")}
    assert part_files(whole) == files
    assert weights_size(whole) == 6 and has_weights(whole)
    monkeypatch.chdir(whole)
    assert part_files(".").keys() == part_files(whole).keys(), "from inside the bundle, too"


def test_parts_of_a_linked_bundle(whole: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/whole").symlink_to(whole)
    assert verified(tmp_path / "elsewhere/whole")[1] == verified(whole)[1]


def test_a_file_put_together_from_parts(whole: Path) -> None:
    (whole / "models").mkdir()
    (whole / FILE).write_bytes(b"both")
    with pytest.raises(WeightsError, match="has SHA-256"):
        verified(whole)
    meta = json.loads((whole / METADATA).read_text())
    (whole / METADATA).write_text(json.dumps(meta | {"model_sha256": hashlib.sha256(b"both").hexdigest()}))
    assert verified(whole) == (whole / FILE, meta["weights_sha256"])
    assert part_files(whole) == {} and weights_size(whole) == 4
    # A file named as the weights themselves is them, whatever the parts are.
    (whole / METADATA).write_text(json.dumps(meta | {"weights_sha256": hashlib.sha256(b"both").hexdigest()}))
    assert verified(whole)[1] == hashlib.sha256(b"both").hexdigest()
    (whole / METADATA).write_text(json.dumps(meta | {"model_sha256": hashlib.sha256(b"both").hexdigest()}))
    # It needs nothing beside it.
    shutil.rmtree(whole.parent / "part_localizer")
    assert verified(whole)[1] == meta["weights_sha256"]


def test_a_missing_part(whole: Path) -> None:
    (whole.parent / "part_organs.eye_left" / FILE).unlink()
    with pytest.raises(WeightsError, match=r"weights missing: .*put part_organs.eye_left beside it"):
        verified(whole)
    assert not has_weights(whole)


def test_a_part_with_other_weights(whole: Path) -> None:
    part = whole.parent / "part_localizer"
    (part / FILE).write_bytes(b"another")
    with pytest.raises(WeightsError, match=r"metadata of .*part_localizer names"):
        verified(whole)
    (part / METADATA).write_text(json.dumps({"weights_sha256": hashlib.sha256(b"another").hexdigest()}))
    with pytest.raises(WeightsError, match=r"metadata of .*whole names"):
        verified(whole)


@pytest.mark.parametrize(
    "parts",
    [
        [], "a", 5, {"localizer": "a"}, {"localizer": {"bundle": "a"}}, {"localizer": {"bundle": "..", "sha256": "a"}},
        {"localizer": {"bundle": "../part_localizer", "sha256": "a"}}, {"localizer": {"bundle": 1, "sha256": 2}},
        {"localizer": {"bundle": "a" * 300, "sha256": "a"}}, {"\ud800": {"bundle": "a", "sha256": "a"}},
    ],
)  # fmt: skip
def test_damaged_parts(parts: object, whole: Path) -> None:
    meta = json.loads((whole / METADATA).read_text())
    (whole / METADATA).write_text(json.dumps(meta | {"weights_parts": parts}))
    with pytest.raises(WeightsError, match="weights_parts is damaged|weights missing"):
        verified(whole)
    assert not has_weights(whole)


def test_parts_that_do_not_give_the_identity(whole: Path) -> None:
    meta = json.loads((whole / METADATA).read_text())
    (whole / METADATA).write_text(json.dumps(meta | {"weights_sha256": "0" * 64}))
    with pytest.raises(WeightsError, match="is not that of its weights_parts"):
        verified(whole)
