"""The cache of compiled networks: whole or not at all, whatever happens to its files."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from oarseg.inference.engines import openvino_core as cache
from oarseg.inference.engines.openvino_core import BlobCache, cache_folder


def test_what_is_stored_is_found_by_its_whole_key(tmp_path: Path) -> None:
    blobs = BlobCache(tmp_path / "a" / "b")
    assert blobs.load("x", "1") is None
    blobs.store(b"one", "x", "1")
    blobs.store(b"two", "x", "2")
    assert (blobs.load("x", "1"), blobs.load("x", "2"), blobs.load("x")) == (b"one", b"two", None)
    assert BlobCache(blobs.folder).load("x", "1") == b"one"
    blobs.drop("x", "1")
    assert blobs.load("x", "1") is None and blobs.load("x", "2") == b"two"
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "longer"])
def test_damaged_files_are_not_believed_and_go(damage: str, tmp_path: Path) -> None:
    blobs = BlobCache(tmp_path)
    blobs.store(b"content" * 100, "key")
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    flipped = whole[:300] + bytes([whole[300] ^ 1]) + whole[301:]
    path.write_bytes({"cut": whole[:-5], "flip": flipped, "empty": b"", "longer": whole + b"x"}[damage])
    assert blobs.load("key") is None
    assert list(tmp_path.iterdir()) == []
    blobs.store(b"again", "key")
    assert blobs.load("key") == b"again"


def test_without_a_writable_place_nothing_is_kept_and_nothing_fails(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    blobs = BlobCache(tmp_path / "file" / "cache")
    blobs.store(b"x", "key")
    assert blobs.load("key") is None
    blobs.drop("key")


@pytest.mark.parametrize("answer", [RuntimeError("could not determine the home directory"), Path("~/.cache/oarseg")])
def test_without_a_home_nothing_is_kept_and_nothing_fails(answer: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of users that are only a number, in containers: what platformdirs does in its versions."""

    def homeless(*args: object, **options: object) -> object:
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(cache, "user_cache_path", homeless)
    assert cache_folder() is None
    blobs = BlobCache(None)
    blobs.store(b"x", "key")
    assert blobs.load("key") is None
    blobs.drop("key")


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX")
@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702])
def test_a_place_where_others_may_write_is_not_believed(mode: int, tmp_path: Path) -> None:
    blobs = BlobCache(tmp_path / "cache")
    blobs.store(b"mine", "key")
    blobs.folder.chmod(mode)
    assert blobs.load("key") is None
    blobs.store(b"more", "other")
    assert len(list(blobs.folder.iterdir())) == 1
    blobs.folder.chmod(0o700)
    assert blobs.load("key") == b"mine"


@pytest.mark.skipif(os.name != "posix", reason="owners are POSIX")
def test_a_place_of_another_user_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blobs = BlobCache(tmp_path)
    blobs.store(b"theirs", "key")
    me = os.getuid()
    monkeypatch.setattr(cache.os, "getuid", lambda: me + 1)
    assert blobs.load("key") is None


def test_a_full_disk_leaves_no_half_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    BlobCache(tmp_path).store(b"x", "key")
    assert list(tmp_path.iterdir()) == []


def test_the_least_recently_used_go_first(tmp_path: Path) -> None:
    blobs = BlobCache(tmp_path, kept=3)
    old = time.time() - 100
    for n in range(3):
        blobs.store(bytes([n]), str(n))
        os.utime(blobs._path((str(n),)), (old + n, old + n))
    blobs.load("0")
    leftover = tmp_path / ".partial-old"
    leftover.write_bytes(b"half")
    os.utime(leftover, (old - 2 * 86400,) * 2)
    (tmp_path / ".partial-new").write_bytes(b"half")
    blobs.store(b"3", "3")
    assert [blobs.load(str(n)) is not None for n in range(4)] == [True, False, True, True]
    assert not leftover.exists() and (tmp_path / ".partial-new").exists()


def test_many_processes_at_once(tmp_path: Path) -> None:
    """Writers replace one entry again and again: a reader sees one writer's whole content, or nothing at first."""
    code = (
        "import sys; from pathlib import Path; from oarseg.inference.engines.openvino_core import BlobCache\n"
        "for _ in range(60): BlobCache(Path(sys.argv[1])).store(sys.argv[2].encode() * 200000, 'key')\n"
    )
    arguments = [sys.executable, "-c", code, str(tmp_path)]
    writers = [subprocess.Popen([*arguments, letter]) for letter in "ab"]
    blobs, seen = BlobCache(tmp_path), set()
    while any(writer.poll() is None for writer in writers):
        seen.add(blobs.load("key"))
    assert [writer.returncode for writer in writers] == [0, 0]
    assert seen | {blobs.load("key")} <= {None, b"a" * 200000, b"b" * 200000}
    assert blobs.load("key") is not None and len(list(tmp_path.iterdir())) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="the places of Linux; platformdirs knows the others")
@pytest.mark.parametrize(
    ("variables", "place"),
    [
        ({"XDG_CACHE_HOME": "/somewhere"}, "/somewhere/oarseg"),
        ({"XDG_CACHE_HOME": "relative"}, "/home/me/.cache/oarseg"),
        ({}, "/home/me/.cache/oarseg"),
    ],
)
def test_the_platforms_place(variables: dict, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    for name, value in ({"HOME": "/home/me"} | variables).items():
        monkeypatch.setenv(name, value)
    assert cache_folder() == Path(place)
