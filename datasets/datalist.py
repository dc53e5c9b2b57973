"""Datalists: which cases there are, and what each of them labels.

The format is the decathlon's ``dataset.json`` with, for each case, ``labelled`` (organ keys) and, optionally,
``label_propagated`` with ``propagated``: a second label map that also holds silver labels. Silver labels train and
never score.
"""

from __future__ import annotations

import json
from pathlib import Path

from oarseg.errors import ConfigError, InputError

IMAGES = (".nii.gz", ".nii", ".nrrd", ".nhdr")


def load_datalist(
    dataset_dir: str | Path, section: str, silver: bool = False, organ: str | None = None, mirror: str | None = None
) -> list[dict]:
    """Cases of one section ("training" or "validation") as ``{"image", "label", "labelled"}`` with absolute paths.

    Args: ``silver``: take the propagated label map where there is one. ``organ``: only cases that label it, or that
    label ``mirror``, its twin on the other side (for mirrored training).
    Raises InputError where the datalist or a file of it is missing or outside the folder, ConfigError where it is
    malformed or nothing is left.
    """
    root = Path(dataset_dir).resolve()
    path = root / "dataset.json"
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))[section]
    except FileNotFoundError as error:
        raise InputError(f"no datalist at {path}; set dataset_dir to a folder that holds dataset.json") from error
    except (json.JSONDecodeError, UnicodeDecodeError, TypeError) as error:
        raise ConfigError(f"{path} is not a JSON datalist: {error}") from error
    except KeyError as error:
        raise ConfigError(f"{path} has no section {section!r}") from error
    if not isinstance(rows, list):
        raise ConfigError(f"{path}: section {section!r} must be a list of cases, not {type(rows).__name__}")
    cases = [_case(row, root, silver) for row in rows]
    wanted = {organ, mirror} - {None}
    if wanted:
        cases = [c for c in cases if wanted & set(c["labelled"])]
    if not cases:
        raise ConfigError(f"{path}: no case in {section!r} labels {' or '.join(sorted(wanted)) or 'anything'}")
    return cases


def _case(row: dict, root: Path, silver: bool) -> dict:
    try:
        label, labelled = row["label"], list(row["labelled"])
        if silver and row.get("label_propagated"):
            label = row["label_propagated"]
            labelled += [o for o in row["propagated"] if o not in labelled]
        return {"image": _inside(root, row["image"]), "label": _inside(root, label), "labelled": labelled}
    except (KeyError, TypeError) as error:
        raise ConfigError(f"datalist row {row!r} lacks {error}") from error


def _inside(root: Path, name: str) -> str:
    path = (root / name).resolve()
    if not path.is_relative_to(root):
        raise InputError(f"datalist names {name!r}, which lies outside {root.name}")
    if not path.is_file():
        raise InputError(f"datalist names {name!r}, which does not exist in {root}")
    return str(path)


def list_images(folder: str | Path) -> list[dict]:
    """What there is to segment in a folder, as ``{"image": path}``: NIfTI and NRRD files, and DICOM folders.

    A sub-folder counts as one DICOM series; a folder without any of these is taken for a series itself.
    Raises InputError where the folder does not exist, or where two results would have one name.
    """
    root = Path(folder)
    if not root.is_dir():
        raise InputError(f"no folder {root}; set dataset_dir to a folder of images")
    found = sorted(p for p in root.iterdir() if p.is_dir() or p.name.endswith(IMAGES)) or [root]
    names: dict[str, Path] = {}
    for path in found:
        name = output_name({"filename_or_obj": str(path)})["subject"]
        if name in names:
            raise InputError(f"{names[name].name} and {path.name} would both be written as {name}; rename one")
        names[name] = path
    return [{"image": str(path)} for path in found]


def output_name(meta: dict, saver: object = None) -> dict:
    """What MONAI's ``SaveImage`` calls the result of an image: its name without extension, and without further dots.

    MONAI takes what follows the last dot for an extension; of folders named by UIDs it would leave the same name.
    """
    name = Path(meta["filename_or_obj"]).name
    stem = next((name.removesuffix(end) for end in IMAGES if name.endswith(end)), name)
    return {"subject": stem.replace(".", "_"), "idx": None}
