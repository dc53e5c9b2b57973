"""One CT from file to results: read, check, segment, write. The command line and Python callers share it.

>>> from oarseg import segment
>>> result = segment("planning_ct", "contours")                    # doctest: +SKIP
>>> result.volumes_cm3["mandible"], result.mask("mandible").shape  # doctest: +SKIP
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from oarseg.checksum import sha256
from oarseg.dicom import Roi, Segment, write_rtstruct, write_seg
from oarseg.dicom.write.seg import check_available
from oarseg.errors import ConfigError, GeometryError, InputError
from oarseg.files import writing
from oarseg.images.nifti import write_label_map
from oarseg.images.read import CtImage, read_image
from oarseg.images.results_folder import (
    PAGE,
    PREVIEW,
    REPORT,
    RTSTRUCT,
    SEG,
    SEGMENTATION,
    ResultFolder,
)
from oarseg.inference.engines import check_device, check_engine
from oarseg.inference.pipeline import Pipeline, Segmentation
from oarseg.inference.report.case_page import case_page
from oarseg.inference.report.content import computed_by, make_report
from oarseg.inference.report.preview import View, lps_view, write_preview
from oarseg.process import without_warnings
from oarseg.sites import Site
from oarseg.sites.codes import segment_codes

FORMATS = ("nifti", "rtstruct", "seg")
# By default, and the word for every format; in both cases DICOM formats only if the CT is DICOM.
DEFAULT, ALL = ("nifti", "rtstruct"), "all"
# Names for messages.
DICOM_FORMATS = {"rtstruct": "RTSTRUCT", "seg": "DICOM SEG"}
# Steps that ``progress`` is called with: reading, loading, the pipeline's two, writing.
STEPS = 5
Progress = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Result:
    """A contoured CT.

    ``segmentation``: the label map on the CT's own voxels, affine, boxes and measures. ``report``: the content of
    ``report.json``. ``site``: the organ table. ``folder``: where the files are; None if none were written. ``files``:
    their names.
    """

    segmentation: Segmentation
    report: dict[str, Any]
    site: Site
    folder: Path | None = None
    files: tuple[str, ...] = ()

    @property
    def volumes_cm3(self) -> dict[str, float]:
        """Volume of each organ that was found, by key."""
        return {key: found.volume_cm3 for key, found in self.segmentation.measures.items()}

    @property
    def warnings(self) -> list[str]:
        """What was odd about the CT, and what looks implausible or could not be written."""
        return list(self.report["warnings"])

    @property
    def engine(self) -> str:
        """What computed the contours, "OpenVINO, 8 bits, compressed networks, on cpu"."""
        return computed_by(self.report)

    def mask(self, organ: str) -> npt.NDArray[np.bool_]:
        """Return where an organ is, bool, on the CT's own voxels; all False if it was not found.

        A DICOM CT's axes are slices, rows, columns; a file's are the file's own. ``segmentation.affine`` maps indices
        to RAS mm. Args: ``organ``: key or TG-263 name, in any case. Raises ConfigError for an unknown organ.
        """
        inside: npt.NDArray[np.bool_] = self.segmentation.label == self.site.organ(organ).value
        return inside


def segment(
    source: str | Path, out: str | Path | None = None, *, organs: Sequence[str] | None = None,
    series: str | None = None, device: str = "auto", engine: str = "auto", formats: Sequence[str] | None = None,
    overwrite: bool = False, bundle: str | Path | None = None,
    pipeline: Pipeline | Callable[[], Pipeline] | None = None, progress: Progress | None = None,
    overview: str = "",
) -> Result:  # fmt: skip
    """Contour the CT ``source`` and write the results into the folder ``out``.

    For research use only; not a medical device.

    Args:
        source: a folder with a DICOM CT series, or a .nii, .nii.gz, .nrrd or .nhdr file.
        out: folder for the results; by default nothing is written.
        organs: keys or TG-263 names to contour, in any case (``oarseg organs``); all by default.
        series: which CT series of a DICOM folder (UID, start or end of a UID, or series number).
        device: "auto" (CUDA where there is one), "cpu", "cuda" or "cuda:N".
        engine: "auto" (the quickest here), "torch", "openvino", or one with a precision, such as "torch:fp32".
        formats: of ``FORMATS``, or "all" that the CT allows; by default NIfTI, and RTSTRUCT where the CT is DICOM.
            Report, case page and preview are always written.
        overwrite: replace earlier results in ``out``; other files stay.
        bundle: folder of another two-stage bundle than the installed one.
        pipeline: one to use again, so that a cohort loads the weights once, or a function that loads one; it has
            ``device``, ``engine``, ``organs`` and ``bundle`` of its own, which cannot be given beside it.
        progress: called with each step as it begins.
        overview: link of the case page to a page over several cases; none by default.
    Returns the label map on the CT's own voxels, volumes, warnings and the report.
    Raises an OarsegError: InputError or GeometryError (the CT), ConfigError (an option), WeightsError, OutputError.
    Then ``out`` is as it was before.
    """
    formats = _listed("formats", formats)
    check_formats(formats, out)
    load = pipeline_loader(pipeline, bundle, device, organs, engine)
    if not str(source).strip():
        raise InputError("no input: its path is empty")
    folder = ResultFolder(out, overwrite) if out is not None else nullcontext()
    with folder as results, without_warnings():
        return _contoured(source, series, formats, load, _Steps(progress), results, overview)


def pipeline_loader(
    pipeline: Pipeline | Callable[[], Pipeline] | None, bundle: str | Path | None, device: str,
    organs: Sequence[str] | None, engine: str,
) -> Callable[[], Pipeline]:  # fmt: skip
    """Return what gives the pipeline. Raises ConfigError for options that cannot be, before long work is begun."""
    organs = _listed("organs", organs)
    if pipeline is None:
        check_engine(engine)
        check_device(device)
        return lambda: Pipeline(bundle, device, organs, engine)
    if organs or bundle or (device, engine) != ("auto", "auto"):
        raise ConfigError("organs, device, engine and bundle are the pipeline's; give them to Pipeline(...)")
    return pipeline if callable(pipeline) else lambda: pipeline


def _contoured(
    source: str | Path, series: str | None, formats: Sequence[str] | None, load: Callable[[], Pipeline],
    steps: _Steps, results: ResultFolder | None, overview: str,
) -> Result:  # fmt: skip
    """Read, segment and, where there is a folder for them, write the results."""
    with steps.step("read", "reading the CT"):
        image = read_image(source, series)
    chosen, notes = _writable(formats, image)
    with steps.step("load", "loading the networks"):
        pipeline = load()
    site, organs = pipeline.site, [organ.key for organ in pipeline.organs]
    if "seg" in chosen:
        # Before minutes are spent: an organ without codes cannot be written.
        for key in organs:
            segment_codes(site.organ(key).name)
    found = pipeline.segment(image, steps.progress)
    if results is not None:
        with steps.step("write", "writing the results"), writing(results.folder):
            notes += _write_contours(results.staging, chosen, image, found, site)
            view = lps_view(image.hu, found.label, found.affine)
            write_preview(results.staging / PREVIEW, view, site, found.measures, organs)
    report = make_report(
        site, image, found.measures, found.missing, organs=organs, warnings=[*found.warnings, *notes],
        seconds=found.seconds | steps.seconds, device=pipeline.device, engine=pipeline.computed,
        weights=pipeline.weights,
    )  # fmt: skip
    if results is None:
        return Result(found, report, site)
    with writing(results.folder):
        _write_report(results, report, view, site, overview)
        files = tuple(sorted(p.name for p in results.staging.iterdir()))
    results.publish()
    return Result(found, report, site, results.folder, files)


def _write_report(results: ResultFolder, report: dict[str, Any], view: View, site: Site, overview: str) -> None:
    """Write the report, with the checksums of the files that are there by now, and the page that shows it."""
    preview = results.staging / PREVIEW
    report["files"] = {p.name: sha256(p) for p in sorted(results.staging.iterdir())}
    (results.staging / REPORT).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    page = case_page(view, site, report, preview.read_bytes(), results.folder.resolve().name, overview)
    (results.staging / PAGE).write_text(page, encoding="utf-8")


def check_formats(formats: Sequence[str] | None, out: str | Path | None) -> None:
    """Raise ConfigError for a format that is none of ``FORMATS`` nor "all", or for any if nothing is written."""
    if formats and out is None:
        raise ConfigError(f"formats {', '.join(formats)}: give a folder to write them to")
    for name in formats or ():
        if name not in (*FORMATS, ALL):
            raise ConfigError(f"unknown format {name!r}; choose of: {', '.join(FORMATS)}, {ALL}")


def _writable(formats: Sequence[str] | None, image: CtImage) -> tuple[tuple[str, ...], list[str]]:
    """Return the formats that can be written, and notes on those that cannot. Raises for one that was named."""
    every = ALL in (formats or ())
    named = [name for name in formats or () if name in DICOM_FORMATS and not every]
    chosen = tuple(formats) if formats and not every else FORMATS if every else DEFAULT
    if image.volume is None:
        if named:
            what = DICOM_FORMATS[named[0]]
            raise ConfigError(f"{what} refers to DICOM slices, but the input is {image.kind}; give a DICOM folder")
        return ("nifti",), []
    dicom = [name for name in chosen if name in DICOM_FORMATS]
    if dicom and not image.volume.frame_of_reference_uid:
        if named:
            raise GeometryError(
                f"the CT has no FrameOfReferenceUID, so no {DICOM_FORMATS[named[0]]} can be tied to it; export the CT "
                "again with it, or use --format nifti"
            )
        return ("nifti",), [f"no {DICOM_FORMATS[name]} written: the CT has no FrameOfReferenceUID" for name in dicom]
    if "seg" in dicom:
        try:
            check_available()
        except ConfigError as error:
            if named:
                raise
            return tuple(name for name in chosen if name != "seg"), [f"no DICOM SEG written: {error}"]
    return chosen, []


def _listed(name: str, given: Sequence[str] | None) -> list[str] | None:
    """Return ``given`` as a list. Raises ConfigError for one string, which would be taken for its letters."""
    if isinstance(given, str):
        raise ConfigError(f"{name} is {given!r}; give a list, such as [{given!r}]")
    return list(given) if given is not None else None


def _write_contours(
    staging: Path, formats: tuple[str, ...], image: CtImage, found: Segmentation, site: Site
) -> list[str]:
    """Write the label map in each of ``formats``; return notes on what could not be written."""
    if "nifti" in formats:
        write_label_map(staging / SEGMENTATION, found.label, found.affine, image.volume is not None)
    dicom = [name for name in formats if name in DICOM_FORMATS]
    if not found.measures and not dicom:
        return ["no organ was found"]
    if image.volume is None or not dicom:
        return []
    if not found.measures:
        return [f"no {DICOM_FORMATS[name]} written: no organ was found" for name in dicom]
    notes = []
    if "rtstruct" in dicom:
        written = write_rtstruct(staging / RTSTRUCT, image.volume, _rois(found, site))
        notes = [f"{name}: no contour in the RTSTRUCT, it is too small" for name in written.left_out]
    if "seg" in dicom:
        write_seg(staging / SEG, image.volume, found.label, _segments(found, site))
    return notes


def _segments(found: Segmentation, site: Site) -> list[Segment]:
    organs = [site.organ(key) for key in found.measures]
    return [Segment(organ.value, organ.name, organ.color, segment_codes(organ.name)) for organ in organs]


def _rois(found: Segmentation, site: Site) -> Iterator[Roi]:
    for key, measured in found.measures.items():
        organ, place = site.organ(key), measured.place
        start = tuple(part.start for part in place)
        yield Roi(organ.name, organ.color, found.label[place] == organ.value, start=start)


class _Steps:
    """The steps of a run: reported to ``progress`` as they begin, with their ``seconds`` by name afterwards."""

    def __init__(self, progress: Progress | None) -> None:
        self.progress: Progress = progress or (lambda step: None)
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str, title: str) -> Iterator[None]:
        self.progress(title)
        began = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - began
