"""One series of a server, from fetching to storing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from oarseg.dicomweb.fetch import fetched
from oarseg.dicomweb.server import Server
from oarseg.dicomweb.storing import NotStored, how_to_store, store
from oarseg.errors import ConfigError, OarsegError
from oarseg.images.results_folder import RTSTRUCT, SEG, ResultFolder
from oarseg.inference.job import ALL, Result, pipeline_loader, segment
from oarseg.inference.pipeline import Pipeline

# Steps that ``progress`` is called with, beside those of ``segment``.
FETCHING, STORING = "fetching the CT", "storing"


def segment_series(
    server: Server | str, series: str, out: str | Path | None = None, *, study: str | None = None,
    store_results: bool = False, organs: Sequence[str] | None = None, device: str = "auto", engine: str = "auto",
    formats: Sequence[str] | None = None, overwrite: bool = False, bundle: str | Path | None = None,
    pipeline: Pipeline | None = None, progress: Callable[[str], None] | None = None,
) -> Result:  # fmt: skip
    """Fetch a CT series, contour it as :func:`oarseg.segment` does, and, if requested, store RTSTRUCT and DICOM SEG.

    For research use only; not a medical device.

    Args:
        server: a :class:`Server`, or its URL.
        series: SeriesInstanceUID.
        out: folder for the results; needed where they are stored.
        study: StudyInstanceUID; by default the server is queried for it.
        store_results: whether to store the DICOM results on the server.
        progress: called with each step as it begins, and with "fetching the CT: 12 of 85 slices".
    The others as of :func:`oarseg.segment`. The fetched slices are deleted at the end.
    Raises what that raises; InputError (the server, see ``fetched``); NotStored, where the results are in ``out`` but
    did not reach the server: ``NotStored.result`` is the result.
    """
    server = Server(server) if isinstance(server, str) else server
    report = progress or (lambda step: None)
    if store_results:
        check_storable(formats, out)
    load = pipeline_loader(pipeline, bundle, device, organs, engine)
    if out is not None:
        # Whether it can be written, before the server is queried; nothing is made yet.
        with ResultFolder(out, overwrite):
            pass
    report(FETCHING)
    with fetched(server, series, study, tell=lambda note: report(f"{FETCHING}: {note}")) as folder:
        result = segment(folder, out, formats=formats, overwrite=overwrite, pipeline=load, progress=progress)
    if store_results:
        _store(server, result, report)
    return result


def _store(server: Server, result: Result, report: Callable[[str], None]) -> None:
    """Store a result's DICOM files. Raises NotStored with the command that stores them later."""
    files = dicom_files(result)
    if not files:
        return
    report(STORING)
    where = f"The results are in {result.folder}; to store them: {how_to_store(server, files)}"
    try:
        store(server, files, lambda note: report(f"{STORING}: {note}"))
    except OarsegError as error:
        raise NotStored(f"contoured, but not stored: {error}. {where}", result) from error
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt(f"contoured, but perhaps not stored. {where}") from stop


def dicom_files(result: Result) -> list[Path]:
    """Return the files of a result that a server can store; none where no organ was found."""
    return [result.folder / name for name in (RTSTRUCT, SEG) if result.folder and name in result.files]


def check_storable(formats: Sequence[str] | None, out: str | Path | None = "") -> None:
    """Raises ConfigError where nothing would be written that a server can store."""
    if out is None:
        raise ConfigError("results are kept in a folder before they are stored: give one, or do not store")
    if formats and not {"rtstruct", "seg", ALL} & set(formats):
        raise ConfigError(f"format {', '.join(formats)}: nothing that can be stored; add rtstruct, or do not store")
