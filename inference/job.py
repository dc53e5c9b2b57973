"""One CT from file to results: read, check, segment, write. The command line and Python callers share it.

>>> done = segment_to_folder("planning_ct", "contours")            # doctest: +SKIP
>>> done.report["organs"]["mandible"]["volume_cm3"]                # doctest: +SKIP
"""

from __future__ import annotations

import json
import logging
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from oarseg.dicom import Roi, write_rtstruct
from oarseg.errors import ConfigError, GeometryError
from oarseg.evaluation.preview import write_preview
from oarseg.evaluation.report import make_report
from oarseg.inference.outputs import PREVIEW, REPORT, RTSTRUCT, SEGMENTATION, ResultFolder, write_segmentation, writing
from oarseg.inference.pipeline import Pipeline, Segmentation
from oarseg.inference.read import CtImage, read_image
from oarseg.sites import Site

FORMATS = ("nifti", "rtstruct")
# Steps told to ``progress``: reading, loading, the pipeline's two, writing.
STEPS = 5
Progress = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Done:
    """What a run left behind. ``files``: the written ones, by name. ``report``: the content of ``report.json``."""

    folder: Path
    files: tuple[str, ...]
    report: dict
    segmentation: Segmentation


def segment_to_folder(
    source: str | Path,
    out: str | Path,
    *,
    organs: Sequence[str] | None = None,
    series: str | None = None,
    device: str = "auto",
    engine: str = "auto",
    formats: Sequence[str] | None = None,
    overwrite: bool = False,
    bundle: str | None = None,
    pipeline: Pipeline | None = None,
    progress: Progress | None = None,
) -> Done:
    """Contour the CT ``source`` (DICOM folder, NIfTI or NRRD file) into the folder ``out``.

    Args:
        organs: keys to contour; all by default.
        series: which CT series of a DICOM folder.
        formats: of ``FORMATS``; by default both where the CT is DICOM. The report and the preview are always written.
        overwrite: replace earlier results in ``out``.
        device, engine, bundle: see :class:`Pipeline`.
        pipeline: a loaded one to use again, so that a cohort loads the weights once; ``device``, ``engine``, ``organs``
            and ``bundle`` are then its own.
        progress: told each step as it begins.
    Raises an OarsegError; then ``out`` is as it was before.
    """
    tell = progress or (lambda step: None)
    check_formats(formats)
    seconds: dict[str, float] = {}
    with ResultFolder(out, overwrite) as results:
        tell("reading the CT")
        with _timed(seconds, "read"):
            image = read_image(source, series)
        wanted, notes = _wanted(formats, image)
        tell("loading the networks")
        with _timed(seconds, "load"), _hushed():
            pipeline = pipeline or load_pipeline(bundle, device, organs, engine)
        with _hushed():
            found = pipeline.segment(image, tell)
        tell("writing the results")
        with _timed(seconds, "write"), writing(results.folder):
            notes += _write_contours(results.staging, wanted, image, found, pipeline.site)
            told = {*(organs or ()), *found.measures, *found.missing, *found.boxes}
            asked = [key for key in pipeline.site.values if key in told]
            write_preview(
                results.staging / PREVIEW, image.hu, found.label, found.affine, pipeline.site, found.measures, asked
            )
        seconds = found.seconds | seconds
        report = make_report(pipeline, image, found, asked, seconds, notes)
        files = _write_report(results, report)
        results.publish()
    return Done(Path(out), files, report, found)


def _write_report(results: ResultFolder, report: dict) -> tuple[str, ...]:
    """Write the report and return the names of all staged files."""
    with writing(results.folder):
        (results.staging / REPORT).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        return tuple(sorted(p.name for p in results.staging.iterdir()))


def load_pipeline(bundle: str | None, device: str, organs: Sequence[str] | None, engine: str) -> Pipeline:
    """The two-stage bundle with its weights. Raises WeightsError or ConfigError."""
    return Pipeline(bundle, device, organs, engine)


def check_formats(formats: Sequence[str] | None) -> None:
    """Raises ConfigError for a format that is not one of ``FORMATS``."""
    for name in formats or ():
        if name not in FORMATS:
            raise ConfigError(f"unknown format {name!r}; choose of: {', '.join(FORMATS)}")


def _wanted(formats: Sequence[str] | None, image: CtImage) -> tuple[tuple[str, ...], list[str]]:
    """The formats that can be written, and a note on what cannot; an error where it was asked for by name."""
    if image.volume is None:
        if formats and "rtstruct" in formats:
            raise ConfigError(f"an RTSTRUCT refers to DICOM slices, but the input is {image.kind}; give a DICOM folder")
        return tuple(formats or ("nifti",)), []
    if image.volume.frame_of_reference_uid or (formats and "rtstruct" not in formats):
        return tuple(formats or FORMATS), []
    if formats:
        raise GeometryError(
            "the CT has no FrameOfReferenceUID, so no RTSTRUCT can be tied to it; export the CT again with it, "
            "or use --format nifti"
        )
    return ("nifti",), ["no RTSTRUCT written: the CT has no FrameOfReferenceUID"]


@contextmanager
def _hushed() -> Iterator[None]:
    """Without MONAI's remarks: the check of the input has spoken already, and the rest is for programmers."""
    logger = logging.getLogger("monai")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _write_contours(
    staging: Path,
    wanted: tuple[str, ...],
    image: CtImage,
    found: Segmentation,
    site: Site,
) -> list[str]:
    if "nifti" in wanted:
        write_segmentation(staging / SEGMENTATION, found.label, found.affine, image.volume is not None)
    if "rtstruct" not in wanted or image.volume is None:
        return []
    if not found.measures:
        return ["no RTSTRUCT written: no organ was found"]
    written = write_rtstruct(staging / RTSTRUCT, image.volume, _rois(found, site))
    return [f"{name}: no contour in the RTSTRUCT, it is too small" for name in written.left_out]


def _rois(found: Segmentation, site: Site) -> Iterator[Roi]:
    for key, measured in found.measures.items():
        organ, place = site.organ(key), measured.place
        start = tuple(part.start for part in place)
        yield Roi(organ.name, organ.color, found.label[place] == organ.value, start=start)


class _timed:
    """Seconds spent in the block, as ``seconds[name]``."""

    def __init__(self, seconds: dict[str, float], name: str) -> None:
        self.seconds, self.name = seconds, name

    def __enter__(self) -> None:
        self.began = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.seconds[self.name] = time.perf_counter() - self.began
