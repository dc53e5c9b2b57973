"""Requests to a server: repeated where that may help, with one error of one line for every way to fail."""

from __future__ import annotations

import http
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from oarseg.dicomweb.server import HttpError, Server
from oarseg.errors import InputError, OarsegError
from oarseg.requires import require

if TYPE_CHECKING:
    from dicomweb_client import DICOMwebClient

Answer = TypeVar("Answer")
# Seconds before each further try.
PAUSES = (1.0, 2.0, 4.0, 8.0)
BUSY = (429, 502, 503, 504)
# Seconds to connect, and between two pieces of an answer.
TIMEOUT = (10.0, 60.0)
CREDENTIALS = (
    "set OARSEG_DICOMWEB_TOKEN, or OARSEG_DICOMWEB_USER and OARSEG_DICOMWEB_PASSWORD, or give a token file, or write "
    "them to ~/.netrc"
)


def ask(
    server: Server, call: Callable[[DICOMwebClient], Answer], tell: Callable[[str], None] = lambda note: None
) -> Answer:
    """Return what ``call`` returns for a client of the server; repeat it after transient faults.

    Transient are: no connection, no answer in time, an answer that ends early, and the statuses ``BUSY``. ``tell``:
    called with a line before each further try. Raises ConfigError (the package is missing, credentials), HttpError
    (the server refuses) or InputError (no connection, an answer that is not DICOM).
    """
    require("DICOMweb", "dicomweb_client")
    import requests

    from oarseg.dicomweb.session import Client, Session

    for pause in (*PAUSES, None):
        try:
            with Session(server) as session:
                client = Client(server.url, session, timeout=TIMEOUT)
                # Its own would take Ctrl-C for a fault of the network.
                client.set_http_retry_params(retry=False)
                return call(client)
        except OarsegError:
            raise
        except requests.RequestException as error:
            if pause is None or not _is_transient(error):
                raise _as_input_error(server, error) from error
            tell(f"no answer, trying again in {pause:.0f} s")
            time.sleep(pause)
        except Exception as error:  # noqa: BLE001 - what is no DICOM makes the libraries raise nearly anything
            raise _unreadable(server, error) from error
    raise AssertionError("unreachable")


def _is_transient(error: Exception) -> bool:
    """Return whether the fault may be over soon."""
    from requests import exceptions

    if isinstance(error, exceptions.HTTPError) and error.response is not None:
        return error.response.status_code in BUSY
    transient = (exceptions.ConnectionError, exceptions.Timeout, exceptions.ChunkedEncodingError)
    return isinstance(error, transient) and not isinstance(error, exceptions.SSLError)


def _as_input_error(server: Server, error: Exception) -> InputError:
    from requests import exceptions

    from oarseg.dicomweb.session import Torn, credentials_place

    if isinstance(error, exceptions.HTTPError) and error.response is not None:
        status = error.response.status_code
        # A refusal to store says why; the body of another has not been read.
        content = error.response.content if error.response.request.method == "POST" else b""
        used = credentials_place(server, error.response.request.headers)
        return HttpError(_of_status(server, status, used), status, content)
    if isinstance(error, exceptions.SSLError):
        return InputError(
            f"{server.url}: no secure connection ({_cause(error)}); if its certificate is signed by an authority of "
            "your own, name that one's PEM file as CA bundle"
        )
    if isinstance(error, Torn):
        return InputError(f"{server.url}: the answer ends early; try again later")
    if isinstance(error, exceptions.Timeout):
        return InputError(f"{server.url} does not answer in time; try again later")
    if isinstance(error, (exceptions.ConnectionError, exceptions.ChunkedEncodingError)):
        return InputError(f"{server.url}: no connection, or it broke ({_cause(error)}); check the URL and the network")
    return _unreadable(server, error)


def _of_status(server: Server, status: int, used: str) -> str:
    """Return the message for an HTTP status. ``used``: where the credentials of the request came from; "" for none."""
    try:
        name = f"{status} {http.HTTPStatus(status).phrase}"
    except ValueError:
        name = str(status)
    if status == 401 and used:
        return f"{server.url} does not accept the credentials ({name}); check {used}"
    if status == 401:
        return f"{server.url} needs a login ({name}); {CREDENTIALS}"
    if status == 403:
        return f"{server.url} does not allow this ({name}); ask for the right, or " + (
            f"check the credentials: {used}" if used else f"log in: {CREDENTIALS}"
        )
    if status == 404:
        return f"{server.url} has nothing there ({name}); is the URL the root of a DICOMweb service?"
    return f"{server.url} answered {name}"


def _unreadable(server: Server, error: Exception) -> InputError:
    return InputError(f"{server.url}: the answer cannot be read as DICOM ({type(error).__name__})")


def _cause(error: BaseException) -> str:
    """Return the innermost reason, without the address, which names the series."""
    seen: set[int] = set()
    found: BaseException = error
    while id(found) not in seen:
        seen.add(id(found))
        inner = [a for a in (getattr(found, "reason", None), *found.args) if isinstance(a, BaseException)]
        found = (inner or [found.__cause__ or found.__context__ or found])[0]
    reason = getattr(found, "verify_message", None) or getattr(found, "strerror", None)
    return str(reason) if reason else type(found).__name__
