"""Predictions against references, from folders to a folder of tables, plots and pictures.

>>> done = evaluate(EvaluationJob(Path("contours"), Path("experts"), Path("scores")))     # doctest: +SKIP
>>> done.summary.mean["dice"].mean                                              # doctest: +SKIP
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from tqdm import tqdm

from oarseg.errors import ConfigError
from oarseg.evaluation.cases import TOLERANCE_MM, score_case
from oarseg.evaluation.figures import write_box_plots
from oarseg.evaluation.metrics import check_tolerance
from oarseg.evaluation.references import Pair, add_images, find_label_maps, find_references, load_pair, pair_cases
from oarseg.evaluation.scores import CASE_FIELDS, csv_text, write_scores
from oarseg.evaluation.summary import Summary, summarize
from oarseg.evaluation.tables import failures_markdown, summary_csv, summary_markdown
from oarseg.evaluation.worst import worst_page
from oarseg.files import writing
from oarseg.geometry.affine import voxel_spacing
from oarseg.geometry.label_map import LabelMap
from oarseg.images.results_folder import ResultFolder
from oarseg.process import without_warnings
from oarseg.sites import Site
from oarseg.sites.roi_names import NameTable, load_names

SCORES, CASES, SUMMARY, SUMMARY_CSV = "scores.csv", "cases.csv", "summary.md", "summary.csv"
FAILURES, PLOTS, WORST = "failures.md", "box_plots.png", "worst.html"
NAMES = (SCORES, CASES, SUMMARY, SUMMARY_CSV, FAILURES, PLOTS, WORST)


@dataclass(frozen=True)
class EvaluationJob:
    """What to score, and how; see ``oarseg evaluate --help``. ``worst``: organs on the page, 0 for no page."""

    predictions: Path
    references: Path
    out: Path
    section: str = "validation"
    labelled: tuple[str, ...] = ()
    names: Path | None = None
    images: Path | None = None
    tolerance_mm: float = TOLERANCE_MM
    worst: int = 12
    allow_missing: bool = False
    overwrite: bool = False
    quiet: bool = False


# Its name in 0.1.0.
Job = EvaluationJob


@dataclass(frozen=True)
class Evaluation:
    """Rows of ``scores.csv`` and ``cases.csv``, their summary, and notes on what was left out or odd."""

    rows: list[dict]
    cases: list[dict]
    summary: Summary
    notes: list[str] = field(default_factory=list)


@without_warnings()
def evaluate(job: EvaluationJob, site: Site) -> Evaluation:
    """Score every case, write ``job.out``, and return the scores.

    Raises an OarsegError; then ``job.out`` is as it was.
    """
    check_tolerance(job.tolerance_mm)
    if job.worst < 0:
        raise ConfigError(f"--worst {job.worst}: expected the number of organs to show, or 0")
    job = replace(job, labelled=tuple(site.organ(name).key for name in job.labelled))
    results = ResultFolder(job.out, job.overwrite, NAMES, alone=False)
    results.check_taken()
    pairs, notes = _pairs(job)
    names = load_names(site, job.names)
    rows: list[dict] = []
    cases: list[dict] = []
    fine = 0
    for pair in tqdm(pairs, desc="scoring", unit="case", disable=True if job.quiet else None):
        loaded = load_pair(pair, site, names, job.labelled)
        notes += loaded.notes
        scored, case = score_case(
            pair.case, loaded.prediction.label, loaded.reference.label, loaded.reference.affine, loaded.labelled,
            site, job.tolerance_mm,
        )  # fmt: skip
        rows += scored
        cases.append(case)
        fine += job.tolerance_mm < voxel_spacing(loaded.reference.affine).min()
    notes += _not_judged(cases) + _below_voxels(job.tolerance_mm, fine, len(pairs))
    done = Evaluation(rows, cases, summarize(rows, site), notes)
    page = _worst(job, site, done, pairs, names) if job.worst else ""
    with results, writing(job.out):
        _write(results.staging, job, site, done, page)
        results.publish()
    return done


def _not_judged(cases: list[dict]) -> list[str]:
    """Return a note on organs that were predicted in cases whose reference does not label them."""
    count = Counter(key for case in cases for key in case["not_judged"].split())
    if not count:
        return []
    organs = ", ".join(f"{key} in {n}" for key, n in count.items())
    return [f"predicted where the reference does not label it, so not judged: {organs} case(s); see {CASES}"]


def _below_voxels(tolerance_mm: float, count: int, cases: int) -> list[str]:
    """Return a note where ``count`` of the cases have no voxel as small as the tolerance."""
    if not count:
        return []
    return [
        f"surface Dice: the tolerance of {tolerance_mm:g} mm is below the smallest voxel size of {count} of {cases} "
        "case(s); there a surface that is one voxel off counts as wrong, so it says more of the grid than of contours"
    ]


def _pairs(job: EvaluationJob) -> tuple[list[Pair], list[str]]:
    predictions = find_label_maps(job.predictions)
    references = find_references(job.references, job.section, job.labelled)
    if job.images:
        references = add_images(references, job.images)
    if job.predictions.is_file() and job.references.is_file():
        # Two files are one case, whatever their names are.
        predictions = dict(zip(references, predictions.values(), strict=True))
    return pair_cases(predictions, references, job.allow_missing)


def _write(folder: Path, job: EvaluationJob, site: Site, done: Evaluation, page: str) -> None:
    texts = {
        CASES: csv_text(CASE_FIELDS, done.cases),
        SUMMARY: summary_markdown(done.summary, done.cases, job.tolerance_mm, site),
        SUMMARY_CSV: summary_csv(done.summary),
        FAILURES: failures_markdown(done.rows, done.notes, site),
    } | ({WORST: page} if page else {})
    write_scores(folder / SCORES, done.rows)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    write_box_plots(folder / PLOTS, done.rows, site)


def _worst(job: EvaluationJob, site: Site, done: Evaluation, pairs: Sequence[Pair], names: NameTable) -> str:
    by_case = {pair.case: pair for pair in pairs}

    with tqdm(desc="drawing", unit="case", disable=True if job.quiet else None) as bar:

        def load(case: str) -> tuple[LabelMap, LabelMap, Path | None]:
            bar.update()
            loaded = load_pair(by_case[case], site, names, job.labelled)
            return loaded.prediction, loaded.reference, by_case[case].reference.image

        return worst_page(done.rows, job.worst, load, site, done.notes.append)


def compare_to(out: Path | None, markdown: str, table: str, overwrite: bool) -> None:
    """Write ``compare.md`` and ``compare.csv`` into ``out``, where there is one. Raises OutputError."""
    if out is None:
        return
    names = ("compare.md", "compare.csv")
    with ResultFolder(out, overwrite, names, alone=False) as results, writing(out):
        for name, text in zip(names, (markdown, table), strict=True):
            (results.staging / name).write_text(text, encoding="utf-8")
        results.publish()
