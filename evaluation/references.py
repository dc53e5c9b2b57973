"""Which prediction belongs to which reference, and both of them read on one grid.

A case's name is its image's, file's or folder's, without ``.nii.gz`` and without the ``_seg`` that the bundles append.
Bundles write dots in it as underscores: a name that is on neither side as it stands is looked for in that way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from oarseg.datasets import list_images, load_datalist
from oarseg.datasets.datalist import case_name, case_names, output_name
from oarseg.datasets.silver_list import LIST
from oarseg.dicom.read.structure_set import is_rtstruct, read_rtstruct
from oarseg.errors import ConfigError, InputError, OarsegError
from oarseg.images.label_maps import NIFTI, LabelMap, check_same_grid, read_label_map
from oarseg.images.results_folder import RTSTRUCT, SEGMENTATION
from oarseg.sites import Site
from oarseg.sites.roi_names import NameTable
from oarseg.text import listed, printable

POSTFIX = "_seg"
_T = TypeVar("_T")


@dataclass(frozen=True)
class Reference:
    """``labelled``: what it labels, None where the file itself must tell. ``image``: the CT, where it is known."""

    path: Path
    labelled: tuple[str, ...] | None = None
    image: Path | None = None


@dataclass(frozen=True)
class Pair:
    """One case to score."""

    case: str
    prediction: Path
    reference: Reference


@dataclass(frozen=True, eq=False)
class LoadedPair:
    """Both label maps on one grid, what the reference labels, and what was odd."""

    prediction: LabelMap
    reference: LabelMap
    labelled: tuple[str, ...]
    notes: tuple[str, ...]


def find_label_maps(place: Path) -> dict[str, Path]:
    """Return label maps by case: NIfTI and RTSTRUCT files in a folder, or in sub-folders named by the case.

    A sub-folder holds ``segmentation.nii.gz`` (this counts where there is more), ``rtstruct.dcm`` or any one RTSTRUCT
    beside its CT; RTSTRUCTs are recognised by what they hold, not by their names. A file instead of a folder stands for
    itself. Raises InputError where there is none, or two for one case.
    """
    if place.is_file():
        return {_stem(place): place}
    if not place.is_dir():
        raise InputError(f"{place} does not exist; give a folder of label maps (NIfTI) or structure sets (RTSTRUCT)")
    found: dict[str, Path] = {}
    for entry in sorted(p for p in place.iterdir() if not p.name.startswith(".")):
        path = _of_folder(entry) if entry.is_dir() else entry if _is_map(entry) else None
        if path is None:
            continue
        case = printable(entry.name) if entry.is_dir() else _stem(entry)
        if case in found:
            raise InputError(f"{place}: {found[case].name} and {entry.name} are both case {case!r}; remove one")
        found[case] = path
    if not found:
        raise InputError(
            f"{place} holds no label map; expected <case>.nii.gz, <case>/{SEGMENTATION}, <case>.dcm or "
            f"<case>/{RTSTRUCT}"
        )
    return found


def _of_folder(folder: Path) -> Path | None:
    for name in (SEGMENTATION, RTSTRUCT):
        if (folder / name).is_file():
            return folder / name
    # A patient's folder as a planning system exports it: the CT slices and the structure set.
    plans = [p for p in sorted(folder.iterdir()) if p.is_file() and is_rtstruct(p)]
    if len(plans) > 1:
        raise InputError(f"{folder} holds {len(plans)} RTSTRUCTs ({plans[0].name}, {plans[1].name}); leave one")
    return plans[0] if plans else None


def _is_map(path: Path) -> bool:
    return path.name.endswith(NIFTI) or (path.is_file() and is_rtstruct(path))


def _stem(path: Path) -> str:
    # Only known endings: of a name such as "1.2.840" or "pt.1" the last number is no ending.
    name = next((path.name[: -len(end)] for end in (*NIFTI, ".dcm") if path.name.lower().endswith(end)), path.name)
    return printable(name.removesuffix(POSTFIX) or name)


def find_references(place: Path, section: str, labelled: Sequence[str] | None) -> dict[str, Reference]:
    """Return references by case: a data set's ``section`` where ``place`` holds ``dataset.json``, else as predictions.

    A data set's own labels only: its silver labels never score. Raises ConfigError where ``labelled`` is given for a
    data set, which says itself what it labels.
    """
    if not (place / "dataset.json").is_file():
        _refuse_part_of_data_set(place)
        return {case: Reference(path) for case, path in find_label_maps(place).items()}
    if labelled:
        raise ConfigError(f"{place.name}/dataset.json says what each case labels; leave out --labelled")
    rows = load_datalist(place, section)
    return {
        case: Reference(Path(row["label"]), tuple(row["labelled"]), Path(row["image"]))
        for case, row in zip(case_names([row["image"] for row in rows]), rows, strict=True)
    }


def _refuse_part_of_data_set(place: Path) -> None:
    """Raises ConfigError for silver labels, and for a folder of a data set, whose datalist says what may score."""
    home = place.resolve() if place.is_dir() else place.resolve().parent
    if any((folder / LIST).is_file() for folder in (home, home.parent)):
        raise ConfigError(f"{place} holds silver labels, which never score; give the experts' labels")
    datalist = home.parent / "dataset.json"
    if datalist.is_file() and f'"{home.name}/' in datalist.read_text(encoding="utf-8", errors="replace"):
        raise ConfigError(f"{place} belongs to a data set; give {home.parent.name}, whose datalist says what scores")


def pair_cases(
    predictions: Mapping[str, Path], references: Mapping[str, Reference], allow_missing: bool
) -> tuple[list[Pair], list[str]]:
    """Return pairs by name, and notes on what has no counterpart.

    Raises InputError where a case lacks its counterpart (unless ``allow_missing``), or where no name is on both sides.
    """
    predictions = _as_named(predictions, references)
    common = sorted(predictions.keys() & references.keys())
    lacking = {
        "no prediction": sorted(references.keys() - predictions.keys()),
        "no reference": sorted(predictions.keys() - references.keys()),
    }
    notes = [f"{len(cases)} case(s) have {what}: {listed(cases)}" for what, cases in lacking.items() if cases]
    if not common:
        raise InputError(f"no case is on both sides; {'; '.join(notes)}; name predictions and references alike")
    if notes and not allow_missing:
        raise InputError(f"{'; '.join(notes)}; add them, or --allow-missing to score the {len(common)} that are there")
    return [Pair(case, predictions[case], references[case]) for case in common], notes


def _as_named(predictions: Mapping[str, _T], cases: Iterable[str]) -> dict[str, _T]:
    """Return ``predictions`` by the names of ``cases``, also where theirs have underscores for dots."""
    missing = [case for case in cases if case not in predictions]
    written = Counter(_written(case) for case in missing)
    renamed = {_written(case): case for case in missing if written[_written(case)] == 1}
    cases = set(cases)
    spare = Counter(_written(name) for name in predictions if name not in cases)
    named = {}
    for name, prediction in predictions.items():
        own = name in cases or spare[_written(name)] > 1
        named[name if own else renamed.get(_written(name), name)] = prediction
    return named


def _written(case: str) -> str:
    """Return a case's name as the bundles write it."""
    return output_name({"filename_or_obj": case})["subject"]


def add_images(references: Mapping[str, Reference], folder: Path) -> dict[str, Reference]:
    """Return the references with the CTs of a folder, by name; a case without one stays as it is."""
    images = _as_named({case_name(row["image"]): Path(row["image"]) for row in list_images(folder)}, references)
    return {
        case: Reference(known.path, known.labelled, images.get(case, known.image)) for case, known in references.items()
    }


def load_pair(pair: Pair, site: Site, names: NameTable, labelled: Sequence[str] = ()) -> LoadedPair:
    """Return both label maps of a pair on one grid; an RTSTRUCT is drawn on the voxels of the other side.

    Args:
        pair: the files.
        site: the organs and their label values.
        names: which ROI name is which organ.
        labelled: keys of organs that every reference labels besides those it holds, for references that do not say so
            themselves.
    Raises an error that names the case: GeometryError where the grids differ, ConfigError where both are RTSTRUCTs, and
    whatever reading raises.
    """
    try:
        return _loaded(pair, site, names, labelled)
    except OarsegError as error:
        if str(error).startswith(f"{pair.case}:"):
            raise
        raise type(error)(f"{pair.case}: {error}") from error


def _loaded(pair: Pair, site: Site, names: NameTable, labelled: Sequence[str]) -> LoadedPair:
    kinds = [not path.name.endswith(NIFTI) for path in (pair.prediction, pair.reference.path)]
    if all(kinds):
        raise ConfigError(f"{pair.case}: both sides are RTSTRUCT; one must be NIfTI, as it has the voxels")
    notes: tuple[str, ...] = ()
    held: tuple[str, ...] = ()
    if kinds[0]:
        reference = read_label_map(pair.reference.path)
        drawn = read_rtstruct(pair.prediction, reference, site, names, may_lack_all=True)
        prediction, notes = drawn.label_map, drawn.notes
    else:
        prediction = read_label_map(pair.prediction)
        if kinds[1]:
            drawn = read_rtstruct(pair.reference.path, prediction, site, names)
            reference, notes, held = drawn.label_map, drawn.notes, drawn.organs
        else:
            reference = read_label_map(pair.reference.path)
    check_same_grid(prediction, reference, pair.case)
    judged = pair.reference.labelled
    if judged is None:
        present = {organ.key for organ in site.organs if (reference.label == organ.value).any()}
        judged = tuple(key for key in site.values if key in present | set(held) | set(labelled))
    return LoadedPair(prediction, reference, judged, tuple(printable(f"{pair.case}: {note}") for note in notes))
