"""MONAI's own ``download`` from a web server and from GitHub into an empty folder; inference offline and elsewhere."""

from __future__ import annotations

import importlib.util
import json
import shutil
import ssl
import subprocess
from http.server import SimpleHTTPRequestHandler
from pathlib import Path

import monai.bundle
import nibabel as nib
import numpy as np
import pytest

from oarseg import __version__
from oarseg.bundles import FOLDER
from oarseg.bundles.pack import pack
from oarseg.sites import load_site

pytestmark = pytest.mark.slow

SITE = load_site()
DEMO = FOLDER.parent / "demo"
EYE, LOCALIZER, WHOLE = "eye_left_ct_segmentation", "hn_ct_localizer", "hn_ct_two_stage"
V = f"_v{__version__}"
CONNECT = "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9')"


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """A folder with nothing in it, for what is downloaded."""
    (tmp_path / "empty").mkdir()
    return tmp_path / "empty"


def labels(path: Path) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj)


def bundles_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_dir())


def test_an_organ_finds_the_localizer_downloaded_beside_it(
    small_root: Path, localizer_of, empty: Path, images: Path, tmp_path: Path, serve, shell, infer, tree
) -> None:
    # The localizer says that all is left eye; then the eye's network has a box to look into.
    root = tmp_path / "root"
    shutil.copytree(small_root / EYE, root / EYE)
    shutil.copytree(localizer_of(2), root / LOCALIZER)
    pack(SITE, root, tmp_path / "zoo", [EYE, LOCALIZER], base_url="https://example.org")
    address = serve(tmp_path / "zoo")
    url = f"{address}/{EYE}{V}.zip"
    shell("monai.bundle", "download", "--name", EYE, "--url", url, "--bundle_dir", empty)
    # The same from Python, which saves a process.
    monai.bundle.download(name=LOCALIZER, url=f"{address}/{LOCALIZER}{V}.zip", bundle_dir=empty, progress=False)
    assert bundles_in(empty) == [EYE, LOCALIZER]
    for name in (EYE, LOCALIZER):
        assert tree(empty / name) == tree(root / name)
    infer(empty / EYE, images, tmp_path / "out")
    # The narrow weights of both copies answer so: all of this small image is left eye, not a part.
    assert (labels(tmp_path / "out/d_seg.nii.gz") == 2).mean() > 0.9


def test_the_offline_processes_really_have_no_network(shell) -> None:
    for statement in (CONNECT, "import socket; socket.getaddrinfo('localhost', 80)"):
        with pytest.raises(AssertionError, match="must need no network"):
            shell("timeit", "-n1", "-r1", statement, offline=True)


def test_the_shipped_two_stage_bundle(shipped: Path, empty: Path, tmp_path: Path, serve, shell, infer) -> None:
    """With its real weights on the demo CT: by MONAI, and by ``oarseg segment`` with the compressed set of the copy."""
    pack(SITE, shipped, tmp_path / "zoo", [WHOLE], base_url="https://example.org")
    url = f"{serve(tmp_path / 'zoo')}/{WHOLE}{V}.zip"
    shell("monai.bundle", "download", "--name", WHOLE, "--url", url, "--bundle_dir", empty)
    infer(empty / WHOLE, DEMO, tmp_path / "out")
    found = labels(tmp_path / "out/ct_seg.nii.gz")
    assert set(np.unique(found)) == set(range(9)), "all eight organs are in the demo CT"
    args = ("segment", DEMO / "ct", "--bundle", empty / WHOLE, "-o", tmp_path / "contours", "--device", "cpu")
    shell("oarseg.cli", *args, offline=True)
    report = json.loads((tmp_path / "contours/report.json").read_text(encoding="utf-8"))
    assert [organ["found"] for organ in report["organs"].values()] == [True] * 8


@pytest.fixture
def github(tmp_path: Path, start):
    """``github(folder)``: environment in which GitHub's addresses lead to ``folder/HOST/...``, through a proxy of ours.

    MONAI builds these addresses itself, so what answers must be called github.com, and have a certificate for it.
    """
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    names = "subjectAltName=DNS:github.com,DNS:raw.githubusercontent.com,DNS:api.github.com"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=test",
         "-addext", names, "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    def make(folder: Path) -> dict[str, str]:
        class Proxy(SimpleHTTPRequestHandler):
            def do_CONNECT(self) -> None:
                self.send_response(200)
                self.end_headers()
                self.directory = str(folder / self.path.partition(":")[0])
                self.connection = context.wrap_socket(self.connection, server_side=True)
                self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb", 0)
                self.close_connection = False

            def log_message(self, *args: object) -> None:
                pass

        address = start(Proxy)
        trust = {name: str(certificate) for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")}
        return {"HTTPS_PROXY": address, "https_proxy": address, "NO_PROXY": "", "no_proxy": "", **trust}

    return make


def test_from_a_github_release(small_root: Path, empty: Path, tmp_path: Path, github, shell, tree) -> None:
    pack(SITE, small_root, tmp_path / "zoo", [WHOLE], "github", repo="someone/zoo/v1")
    # As a maintainer does it: the zips are assets of the release v1, the list stands in the tree that v1 names.
    release = tmp_path / "web/github.com/someone/zoo/releases/download/v1"
    tagged = tmp_path / "web/raw.githubusercontent.com/someone/zoo/v1"
    release.mkdir(parents=True)
    shutil.copytree(tmp_path / "zoo/models", tagged / "models")
    shutil.copy(tmp_path / "zoo" / f"{WHOLE}{V}.zip", release)
    # MONAI looks up the newest version with requests, which it does not bring along.
    newest = [] if importlib.util.find_spec("requests") else ["--version", __version__]
    shell(
        "monai.bundle", "download", "--name", WHOLE, "--source", "github", "--repo", "someone/zoo/v1",
        "--bundle_dir", empty, *newest, env=github(tmp_path / "web"),
    )  # fmt: skip
    assert tree(empty / WHOLE) == tree(small_root / WHOLE)
    # The address and the checksum that model_info.json names are those of the zip.
    row = json.loads((tmp_path / "zoo/models/model_info.json").read_text(encoding="utf-8"))[f"{WHOLE}{V}"]
    args = ("--into", tmp_path / "other", "--checksum", row["checksum"])
    shell("oarseg.cli", "bundles", "unpack", row["source"], *args, env=github(tmp_path / "web"))
    assert tree(tmp_path / "other" / WHOLE) == tree(small_root / WHOLE)
