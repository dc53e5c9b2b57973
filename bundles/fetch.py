"""Downloads a file from a web server, with a limit of its size, a timeout and a progress bar.

Not by pooch, which has no such limit: a server could fill the disk before a checksum is compared.
"""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

from tqdm import tqdm

from oarseg.errors import InputError

TIMEOUT = 30  # seconds without an answer
CHUNK = 1 << 16


def is_url(source: str) -> bool:
    """Whether ``source`` is an address on the web, not a path."""
    return urlsplit(source).scheme.lower() in ("http", "https")


def base_name(source: str) -> str:
    """Return the file's name in an address or a path."""
    return (urlsplit(source).path if is_url(source) else Path(source).name).rpartition("/")[2]


def download(url: str, target: Path, limit: int) -> bool:
    """Write the file at ``url`` to ``target``; return False where the server has none.

    Raises InputError where the download fails, breaks off, or is larger than ``limit`` bytes.
    """
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as answer, open(target, "wb") as file:
            _copy(answer, file, url, limit)
    except urllib.error.HTTPError as error:
        if error.code in (404, 410):
            return False
        raise InputError(f"cannot download {url}: the server says {error.code} {error.reason}") from error
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise InputError(f"cannot download {url}: {reason}; check the address and the connection") from error
    return True


def _copy(answer: http.client.HTTPResponse, file, url: str, limit: int) -> None:
    length = answer.headers.get("Content-Length", "")
    size = int(length) if length.isdecimal() else None
    done = 0
    with tqdm(total=size, unit="B", unit_scale=True, desc=base_name(url), disable=None) as bar:
        while chunk := answer.read(CHUNK):
            done += len(chunk)
            if done > limit:
                raise InputError(f"{url} has more than {limit} bytes; that is no bundle")
            file.write(chunk)
            bar.update(len(chunk))
    if size is not None and done != size:
        raise InputError(f"{url} broke off after {done} of {size} bytes; try again")
