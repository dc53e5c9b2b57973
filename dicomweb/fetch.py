"""Fetch a series from a server (WADO-RS) into a folder of its own, which is deleted at the end of the block.

Nothing that the server sends becomes part of a path: files are named by the SHA-256 of their SOPInstanceUID.

>>> with fetched(Server("https://pacs/dicom-web"), "1.2.3.4") as folder:   # doctest: +SKIP
...     result = segment(folder, "contours")
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pydicom.uid import UID

from oarseg.dicom.read.decoders import has_decoder
from oarseg.dicom.read.scan import MAX_FILES
from oarseg.dicomweb.ask import ask
from oarseg.dicomweb.find import RemoteSeries, series_of
from oarseg.dicomweb.server import HttpError, Server
from oarseg.errors import InputError, OarsegError, OutputError
from oarseg.identity import uid_hash
from oarseg.process import without_warnings
from oarseg.text import printable

if TYPE_CHECKING:
    from dicomweb_client import DICOMwebClient
    from pydicom.dataset import Dataset

# Compressed as it lies on the server, which few servers can change; or uncompressed, where we cannot read that.
AS_STORED, PLAIN = (("application/dicom", "*"),), None
# Hidden, and swept by ``oarseg batch`` like all that it had begun.
PREFIX = ".oarseg-ct-"


@contextmanager
def fetched(
    server: Server,
    series: str | RemoteSeries,
    study: str | None = None,
    *,
    near: str | Path | None = None,
    tell: Callable[[str], None] = lambda note: None,
) -> Iterator[Path]:
    """Yield a folder with the series that nobody else can read; it is deleted at the end of the block.

    ``series``: its UID, or what ``find_series`` found. ``study``: the UID of its study; by default the server's answer.
    ``near``: folder in which to make it; the system's for temporary files by default. ``tell``: called with
    "12 of 85 slices" after each slice, and with a line before a request is repeated.

    Raises what :func:`series_of` raises, InputError (the server has it no longer, sent other instances, or too few) or
    OutputError (no room). Errors of the block name "the series" instead of the folder.
    """
    found = series if isinstance(series, RemoteSeries) else series_of(server, series, study, tell)
    try:
        made = tempfile.TemporaryDirectory(prefix=PREFIX, dir=near, ignore_cleanup_errors=True)
    except OSError as error:
        raise OutputError(f"no temporary folder can be made ({error.strerror}); make room, or set TMPDIR") from error
    with made as name:
        folder = Path(name)
        try:
            _fetch(server, found, folder, tell)
            yield folder
        except OarsegError as error:
            if folder.name not in str(error):
                raise
            text = str(error)
            for name in (f"folder {folder}", str(folder), folder.name):
                text = text.replace(name, "the series")
            raise type(error)(text) from error


class _Compressed(OarsegError):
    """An instance in a transfer syntax that cannot be decoded here."""


def _fetch(server: Server, found: RemoteSeries, folder: Path, tell: Callable[[str], None]) -> None:
    try:
        names = _receive(server, found, folder, tell, AS_STORED)
    except _Compressed as syntax:
        try:
            names = _receive(server, found, folder, tell, PLAIN)
        except (HttpError, _Compressed) as error:
            raise InputError(
                f"the series is stored as {syntax}, which cannot be decoded here, and {server.url} does not send it "
                "uncompressed; see docs/dicomweb.md"
            ) from error
    if not names:
        raise InputError(f"{server.url} sent no instance of the series")
    if found.count is not None and len(names) < found.count:
        raise InputError(
            f"{server.url} sent {len(names)} of the {found.count} instances of the series; "
            "it may still be coming in: try again later"
        )


def _receive(
    server: Server,
    found: RemoteSeries,
    folder: Path,
    tell: Callable[[str], None],
    media_types: tuple[tuple[str, str], ...] | None,
) -> set[str]:
    """Write the instances of the series; return the names of their files."""
    # Of all tries: after an answer that ended early the next one begins from the start.
    names: set[str] = set()
    known = "" if found.count is None else f" of {found.count}"

    def call(client: DICOMwebClient) -> None:
        # pydicom's quote values.
        with without_warnings():
            for instance in client.iter_series(found.study, found.uid, media_types):
                names.add(_keep(instance, found, folder))
                if len(names) > MAX_FILES:
                    raise InputError(f"the series has more than {MAX_FILES} instances; give one planning CT")
                tell(f"{len(names)}{known} slices")

    try:
        ask(server, call, tell)
    except HttpError as error:
        if error.status not in (404, 410):
            raise
        raise InputError(f"{server.url} has no such series ({error.status}); check the UIDs") from error
    return names


def _keep(instance: Dataset, found: RemoteSeries, folder: Path) -> str:
    """Write one instance; return the name of its file."""
    uid = str(instance.get("SOPInstanceUID", ""))
    if not uid:
        raise InputError("the server sent an instance without SOPInstanceUID; nothing of it is used")
    if str(instance.get("SeriesInstanceUID", "")) != found.uid:
        raise InputError("the server sent an instance of another series; nothing of it is used")
    if str(instance.get("StudyInstanceUID", "")) != found.study:
        raise InputError("the server sent an instance of another study; nothing of it is used")
    syntax = UID(instance.file_meta.TransferSyntaxUID)
    if not syntax.is_transfer_syntax or (syntax.is_compressed and not (syntax.is_deflated or has_decoder(syntax))):
        raise _Compressed(printable(syntax.name))
    name = uid_hash(uid)
    try:
        with open(folder / f"{name}.dcm", "wb") as file:
            instance.save_as(file)
    except OSError as error:
        raise OutputError(
            f"the CT cannot be written to {folder.parent} ({error.strerror or error}); make room, or set TMPDIR"
        ) from error
    return name
