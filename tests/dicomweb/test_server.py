"""Which server is talked to, and who it is told that we are: never more than it should be."""

from __future__ import annotations

import base64
import logging
import pickle
import shlex
import subprocess

import pytest

pytest.importorskip("dicomweb_client", reason="needs dicomweb-client: pip install 'oarseg[dicomweb]'")

from oarseg.dicomweb import Server, find_series, series_of
from oarseg.errors import ConfigError, InputError

TOKEN = "secret-token-4711"


@pytest.mark.parametrize(
    "url", ["", "pacs/dicom-web", "ftp://pacs/x", "http://", "http://pacs:port/x", "http://pa cs/x",
            "http://pacs:99999/x", "file:///etc/passwd", "http://pacs/x\n"],
)  # fmt: skip
def test_what_is_no_url(url):
    with pytest.raises(ConfigError, match="is no URL of a DICOMweb server"):
        Server(url)


def test_a_password_in_the_url_is_not_repeated():
    with pytest.raises(ConfigError) as error:
        Server("https://me:hidden@pacs/dicom-web")
    assert "hidden" not in str(error.value) and "OARSEG_DICOMWEB_PASSWORD" in str(error.value)
    with pytest.raises(ConfigError, match="leave out what follows"):
        Server("https://pacs/dicom-web?token=1")


@pytest.mark.parametrize(
    "host, safe", [("http://localhost:8042", True), ("http://127.0.0.1", True), ("http://[::1]:80", True),
                   ("https://pacs.example.org", True), ("http://pacs.example.org", False),
                   ("http://localhost.example.org", False), ("http://192.168.1.9", False)],
)  # fmt: skip
def test_only_what_is_encrypted_or_stays_here_is_safe(host, safe):
    risk = Server(f"{host}/dicom-web").risk
    assert (risk is None) == safe
    assert safe or "is not encrypted" in risk


def test_files_have_to_be_there(tmp_path):
    for option in ("ca_bundle", "token_file"):
        with pytest.raises(ConfigError, match="does not exist"):
            Server("https://pacs", **{option: str(tmp_path / "none")})


def authorization(web, server: Server) -> str | None:
    """What the server was told."""
    web.asked.clear()
    list(find_series(server, {}))
    return web.asked[0][2].get("Authorization")


def test_credentials_come_from_a_file_the_environment_or_netrc(web, tmp_path, monkeypatch):
    server = Server(web.root)
    assert authorization(web, server) is None
    (tmp_path / "netrc").write_text("machine localhost login n password p\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert authorization(web, server) == "Basic " + base64.b64encode(b"n:p").decode()
    monkeypatch.setenv("OARSEG_DICOMWEB_USER", "Jürgen")
    with pytest.raises(ConfigError, match="only one is set"):
        authorization(web, server)
    monkeypatch.setenv("OARSEG_DICOMWEB_PASSWORD", "ß:x")
    assert authorization(web, server) == "Basic " + base64.b64encode("Jürgen:ß:x".encode()).decode()
    monkeypatch.setenv("OARSEG_DICOMWEB_TOKEN", TOKEN)
    assert authorization(web, server) == f"Bearer {TOKEN}"
    (tmp_path / "token").write_text("of-the-file\n")
    assert authorization(web, Server(web.root, token_file=str(tmp_path / "token"))) == "Bearer of-the-file"


def test_a_token_is_one_line(web, tmp_path):
    for content in (b"", b"two\nlines", b"two words", b"\xff\xfe", "tök".encode()):
        (tmp_path / "token").write_bytes(content)
        with pytest.raises(ConfigError) as error:
            list(find_series(Server(web.root, token_file=str(tmp_path / "token")), {}))
        assert "two" not in str(error.value)
    assert not web.asked


def test_secrets_are_not_told(web, monkeypatch, caplog):
    monkeypatch.setenv("OARSEG_DICOMWEB_TOKEN", TOKEN)
    server = Server(web.root)
    web.instead["find"] = [lambda handler: handler.reply(401)]
    with caplog.at_level(logging.DEBUG), pytest.raises(InputError) as error:
        series_of(server, "1.2.3")
    told = str(error.value) + repr(error.value.__cause__) + repr(server) + repr(pickle.dumps(server)) + caplog.text
    assert TOKEN not in told and pickle.loads(pickle.dumps(server)) == server


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_lead_to_no_other_host(web, tools, monkeypatch, status):
    monkeypatch.setenv("OARSEG_DICOMWEB_TOKEN", TOKEN)
    series = web.hold(*tools.ct_slices(3))
    # Another name of this machine is another host.
    elsewhere = web.root.replace("localhost", "127.0.0.1")
    for target in (
        elsewhere,
        web.root.replace("http:", "https:"),
        f"//127.0.0.1:{web.server_port}/x",
        "http://[::1]/x",
    ):
        web.asked.clear()
        web.instead["find"] = [lambda handler, to=target: handler.reply(status, Location=f"{to}/series")]
        with pytest.raises(InputError, match="redirects to .* which was not followed") as error:
            series_of(Server(web.root), series)
        assert len(web.asked) == 1 and TOKEN not in str(error.value)
    # Within the server they are followed.
    web.for_ever, web.instead["find"] = False, []
    web.instead["find"] = [
        lambda handler: handler.reply(status, Location=handler.path.replace("/series", "/studies/../series"))
    ]
    assert series_of(Server(web.root), series).uid == series
    assert [one[2]["Authorization"] for one in web.asked[-2:]] == [f"Bearer {TOKEN}"] * 2


def test_endless_redirects_end(web):
    web.instead["find"] = [lambda handler: handler.reply(302, Location=handler.path)]
    with pytest.raises(InputError):
        series_of(Server(web.root), "1.2.3")
    assert len(web.asked) < 100


def test_a_proxy_is_not_for_this_machine(web, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert list(find_series(Server(web.root), {})) == [] and len(web.asked) == 1


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate for localhost, of itself, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost "
        f"-keyout {folder / 'key.pem'} -out {folder / 'cert.pem'}"
    )
    try:
        subprocess.run(shlex.split(command), check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs openssl")
    return folder


def test_tls_is_verified(web, certificate, tmp_path, monkeypatch):
    web.encrypt(certificate / "cert.pem", certificate / "key.pem")
    with pytest.raises(InputError, match="no secure connection .*CA bundle"):
        series_of(Server(web.root), "1.2.3")
    good = Server(web.root, ca_bundle=str(certificate / "cert.pem"))
    assert list(find_series(good, {})) == []
    # The option counts, whatever the environment says.
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "none.pem"))
    assert list(find_series(good, {})) == []
    # For another name the certificate is not.
    with pytest.raises(InputError, match="no secure connection"):
        series_of(Server(web.root.replace("localhost", "127.0.0.1"), ca_bundle=good.ca_bundle), "1.2.3")
    (tmp_path / "empty.pem").write_text("")
    with pytest.raises(InputError):
        series_of(Server(web.root, ca_bundle=str(tmp_path / "empty.pem")), "1.2.3")
