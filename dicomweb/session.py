"""The HTTP session that ``dicomweb-client`` works through: credentials, TLS, limits, and no other host than the named.

Only ``ask.py`` imports this module, so that the rest can be imported without ``requests``.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from email.message import Message
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import requests
from dicomweb_client import DICOMwebClient
from requests.auth import HTTPBasicAuth

from oarseg import __version__
from oarseg.dicom.guards.deflated import MOST_INFLATED, inflates_beyond
from oarseg.dicomweb.server import Server, is_loopback, origin
from oarseg.errors import ConfigError, InputError
from oarseg.geometry.check_ct import MAX_VOXELS
from oarseg.text import printable

TOKEN, USER, PASSWORD = "OARSEG_DICOMWEB_TOKEN", "OARSEG_DICOMWEB_USER", "OARSEG_DICOMWEB_PASSWORD"
JSON = ("application/dicom+json", "application/json")
KINDS = (*JSON, "multipart/related", "application/dicom")
# Of a refusal in XML dicomweb-client makes a success.
XML = ("application/dicom+xml", "application/xml", "text/xml")
# What it has to say it raises; otherwise its warnings, which quote the server, would appear on the terminal.
logging.getLogger("dicomweb_client").addHandler(logging.NullHandler())
# May stand in a query, and must for Orthanc 1.10, which searches for what it gets.
AS_THEY_ARE = "*?,:/"
# A slice of 4096 x 4096 takes 32 MiB.
MAX_PART = 64 << 20
# The largest CT that is read, in numbers of 32 bits.
MAX_BODY = 4 * MAX_VOXELS
Authorize = Callable[[requests.PreparedRequest], requests.PreparedRequest]


class Torn(requests.exceptions.ChunkedEncodingError):
    """A multipart answer without its end."""


class Session(requests.Session):
    """A session with one server. Raises ConfigError where credentials are given by halves."""

    def __init__(self, server: Server) -> None:
        super().__init__()
        self.server = server
        # None: requests looks into netrc.
        self.auth = _credentials(server)
        self.headers.update({"Accept": JSON[0], "User-Agent": f"oarseg/{__version__}"})
        self.hooks["response"].append(_watch)

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        """Send as requests does, but name the host with its port and let the CA bundle of the server win."""
        request.headers.pop("Host", None)
        root, mark, query = (request.url or "").partition("?")
        for sign in AS_THEY_ARE:
            query = query.replace(f"%{ord(sign):02X}", sign)
        request.url = root + mark + query
        if is_loopback(origin(self.server.url)[1]):
            # Not by way of a proxy.
            options["proxies"] = {}
        if self.server.ca_bundle:
            options["verify"] = self.server.ca_bundle
        return super().send(request, **options)

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Return where a redirect leads. Raises InputError for another host, or where stored files would get lost."""
        target = super().get_redirect_target(resp)
        if target is None:
            return None
        scheme, host, port = found = origin(urljoin(resp.url, target))
        if found != origin(self.server.url):
            raise InputError(
                f"{self.server.url} redirects to {printable(f'{scheme}://{host}:{port}')}, which was not followed: "
                "credentials and images are for the server that was named; name that one if it is yours"
            )
        if resp.request.method == "POST" and resp.status_code not in (307, 308):
            raise InputError(f"{self.server.url} redirects what is to be stored ({resp.status_code}); check the URL")
        return target


class Client(DICOMwebClient):
    """A client that checks each instance before pydicom inflates it, which it does to any size."""

    def _decode_multipart_message(self, response: requests.Response, stream: bool) -> Iterator[bytes]:
        for part in super()._decode_multipart_message(response, stream):
            if inflates_beyond(BytesIO(part)):
                raise InputError(
                    f"{_root(response)} sends an instance of more than {MOST_INFLATED >> 20} MiB; is this a CT?"
                )
            yield part


def credentials_place(server: Server, headers: Mapping[str, str]) -> str:
    """Return where the credentials of a request came from; "" where it had none."""
    if "Authorization" not in headers:
        return ""
    if server.token_file:
        return f"token file {server.token_file}"
    if os.environ.get(TOKEN):
        return TOKEN
    return f"{USER} and {PASSWORD}" if os.environ.get(USER) else "user and password in ~/.netrc"


def _credentials(server: Server) -> Authorize | None:
    """Return a token of the file or environment, or user and password of the environment; None without any."""
    if server.token_file:
        return _bearer(_read(server.token_file), f"token file {server.token_file}")
    if token := os.environ.get(TOKEN):
        return _bearer(token, TOKEN)
    user, password = os.environ.get(USER), os.environ.get(PASSWORD)
    if user is None and password is None:
        return None
    if not user or password is None:
        raise ConfigError(f"of {USER} and {PASSWORD} only one is set; set both")
    return HTTPBasicAuth(user.encode(), password.encode())


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii")
    except OSError as error:
        raise ConfigError(f"token file {path} cannot be read ({error.strerror})") from error
    except UnicodeDecodeError:
        # Its cause would show a part of the content.
        raise ConfigError(f"token file {path} is no text") from None


def _bearer(text: str, place: str) -> Authorize:
    token = text.strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigError(f"{place} holds no token: expected one line without spaces")

    def authorize(request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {token}"
        return request

    return authorize


def _watch(response: requests.Response, **_: object) -> None:
    """Check every answer before its body is read."""
    kind = response.headers.get("Content-Type", "").split(";")[0].strip().lower()
    if 200 <= response.status_code < 300:
        accepts = str(response.request.headers.get("Accept", ""))
        if accepts.startswith("multipart") and response.status_code == 204:
            raise InputError(f"{_root(response)} holds no instance of the series")
        if response.status_code == 206:
            raise InputError(f"{_root(response)} sent only a part of the answer (206); try again later")
        if accepts.startswith("multipart") and kind == "application/dicom":
            # Read by another path, past the check of its size.
            raise InputError(f"{_root(response)} sent one instance instead of a series in several parts")
        if kind in XML:
            raise InputError(
                f"{_root(response)} answered in XML, which is not read, so what became of it is not known; it has to "
                f"answer in {JSON[0]}"
            )
        if kind and kind not in KINDS:
            raise InputError(
                f"{_root(response)} answered with {printable(kind)[:60]} instead of DICOM; is the URL the root of its "
                "DICOMweb service, and does it ask for a login?"
            )
    elif not (response.is_redirect or 400 <= response.status_code < 600):
        # Neither a refusal nor an answer.
        raise InputError(f"{_root(response)} answered {response.status_code}")
    if kind in JSON:
        # dicomweb-client knows it without parameters only.
        response.headers["Content-Type"] = kind
    body = Body(response)
    response.iter_content = body.chunks  # type: ignore[method-assign]


def _root(response: requests.Response) -> str:
    scheme, host, port = origin(response.url)
    return f"{scheme}://{host}:{port}"


class Body:
    """The body of an answer as it comes in: within the limits, and, of several parts, with its end.

    dicomweb-client holds a part in memory until it is whole, and takes a last part without an end for whole.
    """

    def __init__(self, response: requests.Response) -> None:
        self.source, self.root = response.iter_content, _root(response)
        message = Message()
        message["Content-Type"] = response.headers.get("Content-Type", "")
        boundary = message.get_boundary() if message.get_content_type() == "multipart/related" else None
        self.delimiter = f"--{boundary}".encode() if boundary else None
        self.closed = boundary is None

    def chunks(self, chunk_size: int | None = 1, decode_unicode: bool = False) -> Iterator[Any]:
        """As ``iter_content`` of requests. Raises InputError beyond a limit, Torn where the end is missing."""
        total = part = 0
        tail = b""
        for chunk in self.source(chunk_size):
            total, part = total + len(chunk), part + len(chunk)
            if self.delimiter:
                seen = tail + chunk
                if self.delimiter in seen:
                    part = len(chunk)
                self.closed = self.closed or self.delimiter + b"--" in seen
                tail = seen[-len(self.delimiter) - 2 :]
            if part > MAX_PART or total > MAX_BODY:
                limit = MAX_PART if part > MAX_PART else MAX_BODY
                raise InputError(f"{self.root} sends more than {limit >> 20} MiB; is this a CT?")
            yield chunk
        if total and not self.closed:
            raise Torn("no closing delimiter")
