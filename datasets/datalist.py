"""Datalists: which cases there are, and what each of them labels.

The format is the decathlon's ``dataset.json`` with, for each case, ``labelled`` (organ keys) and, optionally,
``label_propagated`` with ``propagated``: a second label map that also holds silver labels. Later rounds of silver
labels lie in a folder of their own (see ``experiments.silver.run``). Silver labels train and never score.
"""

from __future__ import annotations

import json
import reprlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from oarseg.datasets.silver_list import SilverList, inside, read_silver
from oarseg.errors import ConfigError, InputError
from oarseg.files import reading_json
from oarseg.text import printable

IMAGES = (".nii.gz", ".nii", ".nrrd", ".nhdr")


def load_datalist(
    dataset_dir: str | Path,
    section: str,
    silver: bool | str | Path = False,
    organ: str | None = None,
    mirror: str | None = None,
    expert_repeat: int = 1,
) -> list[dict]:
    """Return the cases of one section as ``{"image", "label", "labelled"}`` with absolute paths.

    Args:
        dataset_dir: the folder that holds ``dataset.json``.
        section: "training" or "validation".
        silver: True for the propagated label map where there is one, or a folder of ``experiments.silver.run``, which
            then replaces the propagated ones.
        organ: only cases that label it, or that label ``mirror``.
        mirror: the organ's twin on the other side, for mirrored training.
        expert_repeat: how often the list holds a case whose own label, drawn by an expert or in the clinic, covers an
            organ (``organ`` or ``mirror``, where given) that is silver in other cases; so training sees true labels
            more often than silver ones.
    Raises InputError where the datalist or a file of it is missing or outside the folder, ConfigError where it is
    malformed or nothing is left.
    """
    root = Path(dataset_dir).resolve()
    path = root / "dataset.json"
    rows = load_rows(root, section)
    drawn = read_silver(silver) if isinstance(silver, str | Path) else None
    if drawn and drawn.section != section:
        raise ConfigError(f"{silver} holds silver labels for section {drawn.section!r}, not for {section!r}")
    cases = [_case(row, root, bool(silver), drawn) for row in rows]
    organs = {organ, mirror} - {None}
    if organs:
        cases = [c for c in cases if organs & set(c["labelled"])]
    if not cases:
        raise ConfigError(f"{path}: no case in {section!r} labels {' or '.join(sorted(organs)) or 'anything'}")
    return _repeated(cases, organs, expert_repeat)


def load_rows(root: Path, section: str) -> list:
    """Return the rows of one section of ``root/dataset.json``, as they stand there.

    Raises InputError where there is no datalist, ConfigError where it is malformed or has no such section.
    """
    path = root / "dataset.json"
    with reading_json(path, "datalist", "set dataset_dir to a folder that holds dataset.json"):
        content = json.loads(path.read_text(encoding="utf-8"))
        if section not in content:
            raise ValueError(f"it has no section {section!r}")
        rows = content[section]
        if not isinstance(rows, list):
            raise ValueError(f"section {section!r} must be a list of cases, not {type(rows).__name__}")
    return rows


def _case(row: dict, root: Path, silver: bool, drawn: SilverList | None) -> dict:
    """Return one case; ``own`` are the organs that are not silver."""
    own, label, image, more = _organs(row, "labelled"), inside(root, _path(row, "label")), _path(row, "image"), []
    if drawn:
        if image in drawn.cases:
            label, more = drawn.cases[image].label, drawn.cases[image].organs
    elif silver and row.get("label_propagated"):
        label, more = inside(root, _path(row, "label_propagated")), _organs(row, "propagated")
    labelled = own + [o for o in more if o not in own]
    return {"image": str(inside(root, image)), "label": str(label), "labelled": labelled, "own": own}


def _organs(row: dict, field: str) -> list[str]:
    """Return a field that is a list of organ keys. Raises ConfigError for anything else, a single word too."""
    value = _field(row, field)
    if not isinstance(value, list) or not all(isinstance(key, str) for key in value):
        raise ConfigError(
            f"datalist row {reprlib.repr(row)}: {field!r} is {reprlib.repr(value)}, expected a list of organ keys "
            'such as ["brainstem"]'
        )
    return list(value)


def _path(row: dict, field: str) -> str:
    value = _field(row, field)
    if not isinstance(value, str):
        raise ConfigError(f"datalist row {reprlib.repr(row)}: {field!r} is {reprlib.repr(value)}, expected a file name")
    return value


def _field(row: dict, field: str) -> object:
    if not isinstance(row, dict):
        raise ConfigError(f"datalist row {reprlib.repr(row)} is no case; expected an object with 'image' and 'label'")
    if field not in row:
        raise ConfigError(f"datalist row {reprlib.repr(row)} lacks {field!r}")
    return row[field]


def _repeated(cases: list[dict], organs: set[str], times: int) -> list[dict]:
    """Return ``cases`` without ``own``, those with true labels of organs that are silver elsewhere ``times`` over."""
    if times < 1:
        raise ConfigError(f"expert_repeat is {times}; expected 1 or more, such as 4")
    # Where an organ is silver nowhere, all its labels are alike and none is to be seen more often.
    silver = {o for c in cases for o in c["labelled"] if o not in c["own"] and (not organs or o in organs)}
    return [case for case in cases for _ in range(times if silver & set(case.pop("own")) else 1)]


def list_images(folder: str | Path) -> list[dict]:
    """Return what there is to segment in a folder, as ``{"image": path}``: NIfTI and NRRD files, and DICOM folders.

    A sub-folder counts as one DICOM series; a folder without any of these is taken for a series itself.
    Raises InputError where the folder does not exist, or where two results would have one name.
    """
    root = Path(folder)
    if not root.is_dir():
        raise InputError(f"no folder {root}; set dataset_dir to a folder of images")
    found = sorted(p for p in root.iterdir() if p.is_dir() or p.name.endswith(IMAGES)) or [root]
    _each_once((output_name({"filename_or_obj": str(path)})["subject"], path) for path in found)
    return [{"image": str(path)} for path in found]


def output_name(meta: dict, saver: object = None) -> dict:
    """Return what MONAI's ``SaveImage`` calls an image's result: its name without extension and further dots.

    MONAI takes what follows the last dot for an extension; of folders named by UIDs it would leave the same name.
    """
    return {"subject": _stem(meta["filename_or_obj"]).replace(".", "_"), "idx": None}


def case_name(image: str | Path) -> str:
    """Return the name of a case in tables, messages and scores: its image's name, dots and all, printable."""
    return printable(_stem(image))


def case_names(images: Sequence[str | Path]) -> list[str]:
    """Return the name of each case. Raises InputError where two would have one."""
    return _each_once((case_name(image), Path(image)) for image in images)


def _each_once(named: Iterable[tuple[str, Path]]) -> list[str]:
    names: dict[str, Path] = {}
    for name, path in named:
        if name in names:
            raise InputError(f"two images are called {name!r}: {names[name]} and {path}; rename one")
        names[name] = path
    return list(names)


def _stem(image: str | Path) -> str:
    name = Path(image).name
    return next((name.removesuffix(end) for end in IMAGES if name.endswith(end)), name)
