"""MONAI's own ``download`` from a Hugging Face Hub: a server of ours answers what ``huggingface_hub`` asks."""

from __future__ import annotations

import functools
import hashlib
import json
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import urlsplit

import nibabel as nib
import numpy as np
import pytest

from oarseg import __version__
from oarseg.bundles.pack import pack
from oarseg.sites import load_site

pytestmark = pytest.mark.slow

pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")
REPO, NAME, COMMIT = "someone/hn_ct_two_stage", "hn_ct_two_stage", "1" * 40


class Hub(BaseHTTPRequestHandler):
    """Serves one repository with the files of ``folder``, a branch ``main`` and ``tags``, all at one commit.

    The paths that were ``requested`` are noted.
    """

    protocol_version = "HTTP/1.1"

    def __init__(self, *args: object, folder: Path, tags: list[str], requested: list[str]) -> None:
        self.folder, self.tags, self.requested = folder, tags, requested
        self.names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
        super().__init__(*args)

    def log_message(self, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        self.requested.append(path)
        kind, _, rest = path.removeprefix(f"/api/models/{REPO}/").partition("/")
        revision, _, name = path.removeprefix(f"/{REPO}/resolve/").partition("/")
        known = ["main", *self.tags, COMMIT]
        if path.startswith(f"/{REPO}/resolve/") and revision in known and name in self.names:
            self.reply(self.content(name), ETag=f'"{self.digest(name)}"')
        elif kind == "refs":
            tags = [{"name": tag, "ref": f"refs/tags/{tag}", "targetCommit": COMMIT} for tag in self.tags]
            main = {"name": "main", "ref": "refs/heads/main", "targetCommit": COMMIT}
            self.reply({"branches": [main], "tags": tags, "converts": []})
        elif kind == "revision" and rest in known:
            files = [{"rfilename": name} for name in self.names]
            self.reply({"_id": "0", "id": REPO, "sha": COMMIT, "siblings": files, "tags": []})
        elif kind == "tree" and rest in known:
            sizes = {name: len(self.content(name)) for name in self.names}
            self.reply([{"type": "file", "path": n, "size": sizes[n], "oid": self.digest(n)} for n in sizes])
        else:
            # What the Hub says of a revision that is not there.
            self.reply({"error": "no"}, 404, **{"X-Error-Code": "RevisionNotFound"})

    def content(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()

    def digest(self, name: str) -> str:
        return hashlib.sha1(self.content(name)).hexdigest()

    def reply(self, content: object, code: int = 200, **headers: str) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(code)
        fixed = {"X-Repo-Commit": COMMIT, "Content-Length": str(len(data)), "Content-Type": "application/json"}
        for key, value in (fixed | headers).items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


def test_newest_version_used_offline(small_root: Path, images: Path, tmp_path: Path, start, shell, infer, tree) -> None:
    pack(load_site(), small_root, tmp_path / "hub", [NAME], "huggingface")
    requested: list[str] = []
    address = start(functools.partial(Hub, folder=tmp_path / "hub" / NAME, tags=[__version__], requested=requested))
    environment = {"HF_ENDPOINT": address, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_TELEMETRY": "1"}
    into = tmp_path / "empty"
    into.mkdir()
    shell(
        "monai.bundle", "download", "--name", NAME, "--source", "huggingface_hub", "--repo", REPO,
        "--bundle_dir", into, env=environment,
    )  # fmt: skip
    assert f"/api/models/{REPO}/revision/{__version__}" in requested, "the tag is the newest version"
    got = {name: data for name, data in tree(into / NAME).items() if not name.startswith(".cache/")}
    assert got == tree(tmp_path / "hub" / NAME)
    infer(into / NAME, images, tmp_path / "out")
    # The copy's narrow weights answer so, not the installed bundle's: all of this small image is mandible.
    assert (np.asarray(nib.load(tmp_path / "out/d_seg.nii.gz").dataobj) == 4).mean() > 0.9


def test_a_version_that_is_not_there(small_root: Path, tmp_path: Path, start, shell) -> None:
    """That the server above does not answer everything."""
    pack(load_site(), small_root, tmp_path / "hub", ["hn_ct_localizer"], "huggingface")
    address = start(functools.partial(Hub, folder=tmp_path / "hub/hn_ct_localizer", tags=[__version__], requested=[]))
    with pytest.raises(AssertionError, match="RevisionNotFound"):
        shell(
            "monai.bundle", "download", "--name", NAME, "--source", "huggingface_hub", "--repo", REPO,
            "--version", "9.9.9", "--bundle_dir", tmp_path,
            env={"HF_ENDPOINT": address, "HF_HOME": str(tmp_path / "home")},
        )  # fmt: skip
