"""One series of a server, from fetching to storing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from oarseg.dicomweb.fetch import fetched
from oarseg.dicomweb.server import Server
from oarseg.dicomweb.storing import NotStored, how_to_store, store
from oarseg.errors import ConfigError, OarsegError
from oarseg.images.results_folder import RTSTRUCT, SEG, ResultFolder
from oarseg.inference.job import ALL, Result, segment
from oarseg.inference.pipeline import Pipeline

# What ``progress`` is told before a colon, beside the steps of ``segment``.
FETCHING, STORING = "fetching the CT", "storing"


def segment_series(
    server: Server | str,
    series: str,
    out: str | Path | None = None,
    *,
    study: str | None = None,
    store_results: bool = True,
    organs: Sequence[str] | None = None,
    device: str = "auto",
    engine: str = "auto",
    formats: Sequence[str] | None = None,
    overwrite: bool = False,
    bundle: str | Path | None = None,
    pipeline: Pipeline | None = None,
    progress: Callable[[str], None] | None = None,
) -> Result:
    """Fetch a CT series, contour it as :func:`oarseg.segment` does, and store its RTSTRUCT (and DICOM SEG) back.

    For research use only; not a medical device.

    Args:
        server: a :class:`Server`, or its URL.
        series: SeriesInstanceUID.
        out: folder for the results; may be left out only where nothing is stored.
        study: StudyInstanceUID; by default the server is asked for it.
        store_results: whether to store.
        progress: told each step as it begins, and "fetching the CT: 12 of 85 slices".
    The others as of :func:`oarseg.segment`. The fetched slices are deleted at the end.
    Raises what that raises; InputError (the server, see ``fetched``); NotStored, where all is in ``out`` but did not
    reach the server: ``NotStored.result`` is what would have been returned.
    """
    server = Server(server) if isinstance(server, str) else server
    tell = progress or (lambda step: None)
    if store_results:
        check_storable(formats, out)
    if out is not None:
        # Whether it can be written, before the server is asked; nothing is made yet.
        with ResultFolder(out, overwrite):
            pass
    tell(FETCHING)
    with fetched(server, series, study, tell=lambda note: tell(f"{FETCHING}: {note}")) as folder:
        result = segment(
            folder, out, organs=organs, device=device, engine=engine, formats=formats, overwrite=overwrite,
            bundle=bundle, pipeline=pipeline, progress=progress,
        )  # fmt: skip
    files = dicom_files(result)
    if store_results and files:
        tell(STORING)
        try:
            store(server, files, lambda note: tell(f"{STORING}: {note}"))
        except OarsegError as error:
            raise NotStored(
                f"contoured, but not stored: {error}. The results are in {result.folder}; to store them: "
                f"{how_to_store(server, files)}",
                result,
            ) from error
        except KeyboardInterrupt as stop:
            raise KeyboardInterrupt(
                f"contoured, but perhaps not stored. The results are in {result.folder}; to store them: "
                f"{how_to_store(server, files)}"
            ) from stop
    return result


def dicom_files(result: Result) -> list[Path]:
    """Of a result what a server can store; none where no organ was found."""
    return [result.folder / name for name in (RTSTRUCT, SEG) if result.folder and name in result.files]


def check_storable(formats: Sequence[str] | None, out: str | Path | None = "") -> None:
    """Raises ConfigError where nothing would be written that a server can store."""
    if out is None:
        raise ConfigError("what is stored is kept in a folder first: give one, or do not store")
    if formats and not {"rtstruct", "seg", ALL} & set(formats):
        raise ConfigError(f"format {', '.join(formats)}: nothing that can be stored; add rtstruct, or do not store")
