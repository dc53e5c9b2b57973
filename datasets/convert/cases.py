"""What a set's module says of its cases; nothing is read here but folders."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from oarseg.errors import InputError
from oarseg.files import unreadable_folder

# Deeper than any layout, shallow enough for a wrong path such as a home folder to be noticed soon.
MAX_DEPTH = 5


@dataclass(frozen=True, eq=False)
class Loaded:
    """One case read: ``hu`` int16 (i, j, k), ``affine`` (4, 4) index to RAS mm, and the masks, one after the other.

    ``masks``: organ key and bool mask (i, j, k) on the same voxels; drawn from as they are needed, so that only one of
    full size is in memory. ``notes``: what was odd but usable; a list, as drawing the masks may add to it. They name
    no patient.
    """

    hu: np.ndarray
    affine: np.ndarray
    masks: Iterable[tuple[str, np.ndarray]]
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class SourceCase:
    """One case before it is read.

    ``name``: of its files. ``patient``: cases of one patient share a section. ``files``: all that it is made from; it
    is converted again where one of them changes. ``organs``: what is said of each organ's source, by organ key; part of
    what must not change either. ``load``: reads it. ``clean``: takes from a message what may name a patient.
    """

    name: str
    patient: str
    files: tuple[Path, ...]
    organs: Mapping[str, str]
    load: Callable[[], Loaded]
    clean: Callable[[str], str] = str


@dataclass
class Listing:
    """All cases of a folder; how often each name was an organ or none; what could not be listed, and why."""

    cases: list[SourceCase] = field(default_factory=list)
    known: Counter[tuple[str, str]] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)
    refused: dict[str, str] = field(default_factory=dict)

    def checked(self, source: Path, expected: str) -> Listing:
        """Return this listing. Raises InputError where there is no case, or two would have one name."""
        if not self.cases and not self.refused:
            raise InputError(f"no case in {source}; expected {expected} (see docs/datasets.md)")
        names: dict[str, SourceCase] = {}
        for case in self.cases:
            # File systems of some machines do not tell "A" from "a".
            other = names.setdefault(case.name.casefold(), case)
            if other is not case:
                raise InputError(f"{source} holds case {case.name!r} twice; leave one of the two")
        return self


def folders_with(source: Path, fits: Callable[[Path], bool]) -> Iterator[Path]:
    """Yield the folders from ``source`` down, by path, that fit; nothing below such a folder is looked at.

    Raises InputError where ``source`` is no folder, or one that cannot be read.
    """
    if not source.is_dir():
        raise InputError(f"no folder {source}; give the folder of the downloaded set")
    for place, inner, _ in os.walk(source, onerror=unreadable_folder):
        folder = Path(place)
        if fits(folder):
            inner.clear()
            yield folder
            continue
        deep = len(folder.relative_to(source).parts) >= MAX_DEPTH
        inner[:] = [] if deep else sorted(name for name in inner if not name.startswith("."))
