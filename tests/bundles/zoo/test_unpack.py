"""``oarseg bundles unpack``: from a file and from a server, and every zip that must be refused."""

from __future__ import annotations

import hashlib
import io
import json
import stat
import struct
import threading
import zipfile
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from oarseg import __version__
from oarseg.bundles import fetch
from oarseg.bundles import unpack as unpacking
from oarseg.bundles.pack import pack
from oarseg.cli import main
from oarseg.sites import load_site

NAME = "eye_left_ct_segmentation"
ZIP = f"{NAME}_v{__version__}.zip"


@pytest.fixture
def zoo(small_root: Path, tmp_path: Path) -> Path:
    """A folder with a packed small bundle and its model_info.json."""
    pack(load_site(), small_root, tmp_path / "zoo", [NAME], base_url="https://example.org")
    return tmp_path / "zoo"


def sha1(path: Path) -> str:
    return hashlib.sha1(path.read_bytes()).hexdigest()


def rewritten(path: Path, change) -> None:
    """Write a zip anew with ``change(name, content) -> [(name or ZipInfo, content)]`` for each entry."""
    with zipfile.ZipFile(path) as archive:
        entries = [(name, archive.read(name)) for name in archive.namelist()]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries:
            for new, data in change(name, content):
                archive.writestr(new, data)


def adding(path: Path, name: str | zipfile.ZipInfo, content: bytes = b"x") -> None:
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, content)


def refused(capsys: pytest.CaptureFixture, source: Path | str, into: Path, *args: str) -> str:
    """The one line that tells why; whatever was in ``into`` must still be there, and nothing else."""
    before = sorted(into.rglob("*")) if into.exists() else None
    assert main(["bundles", "unpack", str(source), "--into", str(into), *args]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1 and message.startswith("oarseg: error: ")
    assert (sorted(into.rglob("*")) if into.exists() else None) == before
    return message


@pytest.mark.parametrize("digest", [None, "sha1", "sha256"])
def test_unpacks_a_file(
    digest: str | None, zoo: Path, small_root: Path, tmp_path: Path, tree, capsys: pytest.CaptureFixture
) -> None:
    if digest:
        (zoo / "model_info.json").unlink()
    args = ["--checksum", hashlib.new(digest, (zoo / ZIP).read_bytes()).hexdigest().upper()] if digest else []
    assert main(["bundles", "unpack", str(zoo / ZIP), "--into", str(tmp_path / "got"), *args]) == 0
    assert f"{NAME}  version {__version__}, checksums agree" in capsys.readouterr().out
    assert tree(tmp_path / "got") == {f"{NAME}/{name}": data for name, data in tree(small_root / NAME).items()}


@pytest.mark.parametrize("layout", ["http", "github"])
def test_unpacks_from_a_server(layout: str, small_root: Path, tmp_path: Path, serve, tree) -> None:
    where = {"http": {"base_url": "http://127.0.0.1"}, "github": {"repo": "a/b/c"}}[layout]
    pack(load_site(), small_root, tmp_path / "zoo", [NAME], layout, **where)
    assert main(["bundles", "unpack", f"{serve(tmp_path / 'zoo')}/{ZIP}", "--into", str(tmp_path / "got")]) == 0
    assert tree(tmp_path / "got") == {f"{NAME}/{name}": data for name, data in tree(small_root / NAME).items()}


def test_overwrite_replaces_an_earlier_copy_as_a_whole(
    zoo: Path, small_root: Path, tmp_path: Path, tree, capsys: pytest.CaptureFixture
) -> None:
    into = tmp_path / "got"
    (into / NAME / "runs").mkdir(parents=True)
    (into / NAME / "runs/old.txt").write_text("mine", encoding="utf-8")
    (into / "other").mkdir()
    assert "exists; give another folder, or --overwrite" in refused(capsys, zoo / ZIP, into)
    adding(zoo / ZIP, f"{NAME}/../x")
    assert "'eye_left_ct_segmentation/../x'" in refused(
        capsys, zoo / ZIP, into, "--overwrite", "--checksum", sha1(zoo / ZIP)
    )
    assert (into / NAME / "runs/old.txt").is_file(), "a bad zip must not cost the earlier copy"
    (zoo / ZIP).unlink()
    pack(load_site(), small_root, zoo, [NAME], base_url="https://example.org")
    assert main(["bundles", "unpack", str(zoo / ZIP), "--into", str(into), "--overwrite"]) == 0
    assert tree(into / NAME) == tree(small_root / NAME)
    assert sorted(path.name for path in into.iterdir()) == [NAME, "other"]


def link(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    return info


BAD_ENTRIES = {
    "absolute": ("/etc/evil", "a path outside"),
    "above": (f"{NAME}/../../evil", "a path outside"),
    "above at the front": ("../evil", "a path outside"),
    "backslash": (f"{NAME}\\..\\evil", "a path outside"),
    "drive": (f"{NAME}/C:evil", "a path outside"),
    "control character": (f"{NAME}/\x1b[2Jevil", "a path outside"),
    "second top folder": ("other/file", "must lie in one folder"),
    "file at the top": ("README.md", "must lie in one folder"),
    "link": (link(f"{NAME}/link"), "which is a link"),
    "long name": (f"{NAME}/{'é' * 101}", "a name that is too long"),
    "long path": (f"{NAME}/{'a/' * 260}b", "a name that is too long"),
    "twice": (f"{NAME}/license", "two entries of one name"),
    "file and folder": (f"{NAME}/LICENSE/x", "two entries of one name"),
}


@pytest.mark.parametrize("kind", BAD_ENTRIES)
def test_refuses_bad_entries(kind: str, zoo: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    entry, expected = BAD_ENTRIES[kind]
    adding(zoo / ZIP, entry, b"/etc/passwd")
    message = refused(capsys, zoo / ZIP, tmp_path / "got", "--checksum", sha1(zoo / ZIP))
    assert expected in message and "\x1b" not in message
    assert not (tmp_path / "evil").exists()


def test_refuses_a_bomb(zoo: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch) -> None:
    monkeypatch.setattr(unpacking, "MAX_BYTES", 1_000_000)
    adding(zoo / ZIP, f"{NAME}/zeros", bytes(2_000_000))
    assert "unpacks to more than" in refused(capsys, zoo / ZIP, tmp_path / "got", "--checksum", sha1(zoo / ZIP))


def test_refuses_a_bomb_that_lies_about_its_size(zoo: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    rewritten(zoo / ZIP, lambda name, data: [(name, data)])
    adding(zoo / ZIP, zipped := zipfile.ZipInfo(f"{NAME}/zeros"), bytes(3_000_000))
    raw = (zoo / ZIP).read_bytes()
    real, lie = struct.pack("<L", zipped.file_size), struct.pack("<L", 10)
    assert raw.count(real) >= 2
    (zoo / ZIP).write_bytes(raw.replace(real, lie))
    assert "damaged or incomplete" in refused(capsys, zoo / ZIP, tmp_path / "got", "--checksum", sha1(zoo / ZIP))


def test_refuses_too_many_files(zoo: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    with zipfile.ZipFile(zoo / ZIP, "a") as archive:
        for number in range(1001):
            archive.writestr(f"{NAME}/{number}", b"")
    assert "more than 1000 files" in refused(capsys, zoo / ZIP, tmp_path / "got", "--checksum", sha1(zoo / ZIP))


@pytest.mark.parametrize("kept", [0, 100, 5000, -30])
def test_refuses_a_truncated_zip(kept: int, zoo: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (zoo / ZIP).write_bytes((zoo / ZIP).read_bytes()[:kept])
    assert "the zip has checksum" in refused(capsys, zoo / ZIP, tmp_path / "got")
    message = refused(capsys, zoo / ZIP, tmp_path / "got", "--checksum", sha1(zoo / ZIP))
    # Without its own end, the end of the zip that is found is that of the weights in it: PyTorch's files are zips too.
    assert ("the zip holds 'model/data.pkl'" if kept == -30 else "the zip is damaged or incomplete") in message


def test_refuses_flipped_bits_even_where_the_checksum_is_theirs(
    zoo: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    raw = bytearray((zoo / ZIP).read_bytes())
    raw[len(raw) // 2] ^= 1
    (zoo / ZIP).write_bytes(raw)
    assert "the zip has checksum" in refused(capsys, zoo / ZIP, tmp_path / "got")
    message = refused(capsys, zoo / ZIP, tmp_path / "got", "--checksum", sha1(zoo / ZIP))
    assert "the zip is damaged or incomplete: Bad CRC-32" in message


def test_refuses_a_place_before_the_zip(zoo: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    data = bytearray((zoo / ZIP).read_bytes())
    # Where the list of entries begins, as the end of the zip has it.
    end = data.rindex(b"PK\5\6") + 16
    data[end : end + 4] = struct.pack("<L", struct.unpack_from("<L", data, end)[0] + 10)
    (zoo / ZIP).write_bytes(data)
    message = refused(capsys, zoo / ZIP, tmp_path / "got", "--checksum", sha1(zoo / ZIP))
    assert "the zip is damaged or incomplete" in message


def test_refuses_a_name_that_is_no_text(zoo: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    adding(zoo / ZIP, f"{NAME}/éé")
    data = (zoo / ZIP).read_bytes()
    (zoo / ZIP).write_bytes(data.replace("éé".encode(), b"\xff\xff\xff\xff"))
    message = refused(capsys, zoo / ZIP, tmp_path / "got", "--checksum", sha1(zoo / ZIP))
    assert "the zip is damaged or incomplete" in message


def test_refuses_other_methods(zoo: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    with zipfile.ZipFile(zoo / ZIP, "a", zipfile.ZIP_BZIP2) as archive:
        archive.writestr(f"{NAME}/file", b"x" * 100)
    message = refused(capsys, zoo / ZIP, tmp_path / "got", "--checksum", sha1(zoo / ZIP))
    assert "compressed by a method" in message


def dropping(part: str):
    return lambda name, data: [] if name == f"{NAME}/{part}" else [(name, data)]


def with_meta(**change: object):
    def edit(name: str, data: bytes) -> list:
        return [(name, json.dumps(json.loads(data) | change))] if name.endswith("/metadata.json") else [(name, data)]

    return edit


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dropping("models/model.pt"), "no whole bundle: it lacks models/model.pt"),
        (dropping("LICENSE"), "no whole bundle: it lacks LICENSE"),
        (dropping("configs/metadata.json"), "it lacks configs/metadata.json"),
        (with_meta(version="9.9.9"), f"its metadata say {NAME}_v9.9.9"),
        (with_meta(name="other"), f"its metadata say other_v{__version__}"),
        (with_meta(weights_sha256="0" * 64), "models/model.pt is not the one"),
        (lambda name, data: [(name, b"[]" if name.endswith("metadata.json") else data)], "has no name and version"),
    ],
)
def test_refuses_what_is_not_the_bundle(
    change, message: str, zoo: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    rewritten(zoo / ZIP, change)
    assert message in refused(capsys, zoo / ZIP, tmp_path / "got", "--checksum", sha1(zoo / ZIP))


def test_refuses_names_and_checksums(zoo: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    into = tmp_path / "got"
    assert "expected " + "0" * 40 in refused(capsys, zoo / ZIP, into, "--checksum", "0" * 40)
    assert "is no checksum" in refused(capsys, zoo / ZIP, into, "--checksum", "abc")
    assert "no file" in refused(capsys, zoo / f"gone_v{__version__}.zip", into)
    (zoo / ZIP).rename(zoo / "other_v0.1.0.zip")
    assert "does not list other_v0.1.0; give its checksum" in refused(capsys, zoo / "other_v0.1.0.zip", into)
    message = refused(capsys, zoo / "other_v0.1.0.zip", into, "--checksum", sha1(zoo / "other_v0.1.0.zip"))
    assert "must lie in one folder other/" in message
    (zoo / "other_v0.1.0.zip").rename(zoo / "bundle.zip")
    assert "'bundle.zip' is not called <name>_v<version>.zip" in refused(capsys, zoo / "bundle.zip", into)
    (zoo / "bundle.zip").rename(zoo / ZIP)
    (zoo / "model_info.json").unlink()
    assert "no model_info.json lies beside" in refused(capsys, zoo / ZIP, into)
    (zoo / "model_info.json").write_text("{", encoding="utf-8")
    assert "model_info.json is not JSON" in refused(capsys, zoo / ZIP, into)


def test_refuses_what_a_server_does_not_have_or_breaks_off(
    zoo: Path, tmp_path: Path, start, serve, capsys: pytest.CaptureFixture, monkeypatch
) -> None:
    checksum = ["--checksum", sha1(zoo / ZIP)]
    address, data = serve(zoo), (zoo / ZIP).read_bytes()
    assert "no such file" in refused(capsys, f"{address}/gone_v0.1.0.zip", tmp_path / "got", *checksum)
    assert "no model_info.json lies beside" in refused(capsys, f"{address}/deep/{ZIP}", tmp_path / "got")

    release = threading.Event()

    class Bad(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.startswith("/error"):
                self.send_error(503)
                return
            if self.path.startswith("/silent"):
                release.wait(5)
                return
            self.send_response(200)
            if self.path.startswith("/short"):
                self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[: len(data) // 2] if self.path.startswith("/short") else data)

        def log_message(self, *args: object) -> None:
            pass

    monkeypatch.setattr(fetch, "TIMEOUT", 0.5)
    bad = start(Bad)
    message = refused(capsys, f"{bad}/error/{ZIP}", tmp_path / "got", *checksum)
    assert "the server says 503" in message
    assert f"of {len(data)} bytes" in refused(capsys, f"{bad}/short/{ZIP}", tmp_path / "got", *checksum)
    assert "timed out" in refused(capsys, f"{bad}/silent/{ZIP}", tmp_path / "got", *checksum)
    release.set()
    monkeypatch.setattr(unpacking, "MAX_BYTES", 1000)
    assert "more than 1000 bytes" in refused(capsys, f"{bad}/{ZIP}", tmp_path / "got", *checksum)
    assert "cannot download" in refused(capsys, f"http://127.0.0.1:9/{ZIP}", tmp_path / "got", *checksum)


def test_progress_is_shown_on_a_terminal(zoo: Path, tmp_path: Path, serve, monkeypatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    assert main(["bundles", "unpack", f"{serve(zoo)}/{ZIP}", "--into", str(tmp_path / "got")]) == 0
    assert ZIP in screen.getvalue() and "100%" in screen.getvalue()
