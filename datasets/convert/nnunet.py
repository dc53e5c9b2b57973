"""nnU-Net raw folders, of version 1 (``TaskNNN_Name``) and 2 (``DatasetNNN_Name``).

``imagesTr/CASE_0000.nii.gz``, ``labelsTr/CASE.nii.gz`` and ``dataset.json``; what is in ``imagesTs`` has no labels and
stays out. Which value is which organ is said by the names in ``dataset.json``, through the table of names.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from oarseg.datasets.convert.cases import Listing, SourceCase
from oarseg.datasets.convert.volumes import MaskFile, load_files
from oarseg.errors import ConfigError
from oarseg.files import reading_json
from oarseg.images.label_maps import NIFTI
from oarseg.images.read import NRRD
from oarseg.sites.roi_names import NameTable

_NOT_ORGANS = ("background", "ignore")
# "²" is a digit, too, but no number.
_NUMBER = re.compile(r"[0-9]{1,9}")


def list_nnunet(source: Path, names: NameTable) -> Listing:
    """Return the training cases. Raises InputError (no such folder) or ConfigError (``dataset.json``, the names)."""
    content = _read(source / "dataset.json")
    channel, end = _ct_channel(content), str(content.get("file_ending", ".nii.gz"))
    if end not in (*NIFTI, *NRRD):
        raise ConfigError(f"file_ending is {end!r}, expected one of {', '.join((*NIFTI, *NRRD))}; convert the files")
    values, highest = _values(content)
    organs = names.organs(values, "dataset.json")
    if not organs:
        held = ", ".join(map(repr, list(values)[:12]))
        raise ConfigError(f"dataset.json: no label is an organ of the table: {held}; map them by --names")
    of_name = {name: key for key, name in organs.items()}
    listing = Listing()
    for label in sorted((source / "labelsTr").glob(f"*{end}")):
        case = label.name.removesuffix(end)
        image = source / "imagesTr" / f"{case}_{channel:04d}{end}"
        listing.known.update((name, key) for name, key in of_name.items())
        listing.unknown.update(name for name in values if name not in of_name and not names.ignored(name))
        if not image.is_file():
            listing.refused[case] = f"imagesTr lacks {image.name}; expected the CT of labelsTr/{label.name}"
            continue
        masks = {key: (MaskFile(label, values[name], highest),) for key, name in organs.items()}
        made_of = {key: sources[0].described for key, sources in masks.items()}
        listing.cases.append(SourceCase(case, case, (image, label), made_of, partial(load_files, image, masks)))
    return listing.checked(source, f"labelsTr/*{end} with imagesTr/*_{channel:04d}{end}")


def _read(path: Path) -> dict:
    with reading_json(path, "list of an nnU-Net set", "give an nnU-Net raw folder such as Dataset001_Name"):
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict) or not isinstance(content.get("labels"), dict):
            raise ValueError("expected an object with 'labels', as nnU-Net reads it")
    return content


def _ct_channel(content: Mapping) -> int:
    """Return the number of the channel that is called CT. nnU-Net needs that name, as it scales a CT by it."""
    channels = content.get("channel_names", content.get("modality"))
    if not isinstance(channels, dict) or not channels:
        raise ConfigError("dataset.json lacks channel_names (version 1: modality), so which image is the CT is unknown")
    named = [number for number, name in channels.items() if str(name).strip().casefold() == "ct"]
    if len(named) != 1:
        held = ", ".join(f"{n}: {str(c)[:20]!r}" for n, c in list(channels.items())[:8])
        raise ConfigError(f"dataset.json: channels {held}; expected exactly one that is called CT")
    if not _NUMBER.fullmatch(str(named[0])) or int(named[0]) > 9999:
        raise ConfigError(f"dataset.json: channel {str(named[0])[:20]!r}, expected a number from 0 to 9999")
    return int(named[0])


def _values(content: Mapping) -> tuple[dict[str, tuple[int, ...]], int]:
    """Return label values by name (version 1 has names by value), and the largest value of all."""
    labels = content["labels"]
    first = all(_NUMBER.fullmatch(key) for key in labels) and all(isinstance(name, str) for name in labels.values())
    if first and len(set(labels.values())) != len(labels):
        raise ConfigError("dataset.json: two labels have one name; give each its own")
    rows = {name: int(value) for value, name in labels.items()} if first else labels
    found, highest = {}, 0
    for name, value in rows.items():
        many = value if isinstance(value, list) else [value]
        if not many or not all(isinstance(v, int) and not isinstance(v, bool) and 0 <= v <= 65535 for v in many):
            raise ConfigError(f"dataset.json: label {str(name)[:40]!r} is {str(value)[:40]}, expected whole numbers")
        highest = max(highest, *many)
        if str(name).casefold() not in _NOT_ORGANS:
            found[str(name)] = tuple(many)
    if not found:
        raise ConfigError("dataset.json names no label but the background")
    return found, highest
