"""Converts a set: lists its cases, then reads, checks and writes one after the other.

    DST/dataset.json         what training and evaluation read: cases by section, what each labels, licence, source
    DST/images/NAME.nii.gz   int16 HU, on the original grid, axes as they were
    DST/labels/NAME.nii.gz   uint8, the values of the organ table, on the same grid
    DST/conversion.json      what is done, so that a stopped run goes on

A case is written as a whole or not at all; one that cannot be converted is reported and left out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from oarseg.datasets.convert.cases import Listing, Loaded, SourceCase
from oarseg.datasets.convert.labels import Labels, merged
from oarseg.datasets.convert.numbers import Numbers, read_numbers
from oarseg.datasets.convert.sets import SETS, DataSet
from oarseg.datasets.convert.split import TRAINING, VALIDATION, check_share, missing, section
from oarseg.datasets.convert.state import DATALIST, State, made_from, read_state
from oarseg.errors import ConfigError, InputError, OutputError
from oarseg.files import whole_file, write_json
from oarseg.geometry.affine import voxel_spacing
from oarseg.identity import short_hash
from oarseg.images.nifti import write_volume
from oarseg.process import without_warnings
from oarseg.sites import Site
from oarseg.sites.roi_names import NameTable, load_names
from oarseg.text import one_line, printable


@dataclass(frozen=True)
class Plan:
    """What a run would do, before it does anything. ``todo``: cases that are not done, each with its hash."""

    data_set: DataSet
    source: Path
    listing: Listing
    state: State
    todo: tuple[tuple[SourceCase, str], ...]
    numbers: tuple[Numbers, Path] | None
    site: Site
    names: NameTable

    def folders(self) -> dict[str, str]:
        """Return the source's folder by case, where cases are numbered. Folders' names may be patients'."""
        cases = {case.name for case in self.listing.cases} | self.listing.refused.keys()
        numbered = self.numbers[0].folders.items() if self.numbers else ()
        return {case: folder for folder, case in numbered if case in cases}

    def suggested_names(self) -> dict[str, str | None]:
        """Return a map of all names found, to edit and to give back: organ key by name, None where it is not known."""
        return self.names.suggestion({name for name, _ in self.listing.known} | self.listing.unknown.keys())


@dataclass
class Conversion:
    """``rows`` of the datalist by section. ``failed``: why, by case. ``notes``: what was odd but usable."""

    rows: dict[str, list[dict]]
    failed: dict[str, str]
    notes: list[str] = field(default_factory=list)


@without_warnings()
def plan(
    set_name: str, source: Path, out: Path, site: Site, seed: int = 0, validation: float = 0.15,
    names: Path | None = None, numbers: Path | None = None,
) -> Plan:  # fmt: skip
    """Return the cases of ``source`` and what is left to do; writes nothing.

    Args:
        set_name: a key of ``SETS``.
        source: the set's folder.
        out: the folder of the converted set.
        site: the organs.
        seed: of the split by patient.
        validation: share of the patients that validate, on average.
        names: the user's map of names.
        numbers: the file that says which number is whose (``dicom`` only; beside ``out`` by default).
    Raises InputError, ConfigError or OutputError.
    """
    check_share(validation)
    data_set = _chosen(set_name, bool(names), bool(numbers))
    source, out = source.resolve(), out.resolve()
    if source.is_relative_to(out) or out.is_relative_to(source):
        raise OutputError(f"{out} and {source} lie within each other; give a folder outside of the set")
    where = numbers.resolve() if numbers else out.with_name(out.name + ".map.json")
    if where.is_relative_to(out):
        raise ConfigError(f"{where} lies in the converted set, which it must not be passed on with; give another --map")
    # The source, since another folder may hold other patients under the same names.
    settings = {"set": set_name, "site": site.values, "seed": seed, "validation": validation}
    settings |= {"source": short_hash(str(source))}
    state = read_state(out, settings)
    if data_set.numbered and state.cases and not where.exists():
        raise ConfigError(f"no map of cases at {where}, so cases would get other numbers; put it back, or give --map")
    known = read_numbers(where) if data_set.numbered else Numbers()
    table = load_names(site, names)
    listing = data_set.list_cases(source, table, known)
    _check_site(listing, site)
    hashes = {case.name: made_from(case, source) for case in listing.cases}
    todo = tuple((c, hashes[c.name]) for c in listing.cases if not state.done(c, hashes[c.name]))
    return Plan(data_set, source, listing, state, todo, (known, where) if data_set.numbered else None, site, table)


@without_warnings()
def convert(work: Plan, step: Callable[[str], None] = lambda name: None) -> Conversion:
    """Convert what is left of ``work`` and return what is in the data set now.

    ``step`` is called with each case's name after it. Raises OutputError where something cannot be written.
    """
    state, site = work.state, work.site
    outcome = Conversion({}, dict(work.listing.refused))
    if work.numbers:
        work.numbers[0].write(work.numbers[1])
    try:
        for case, hashed in work.todo:
            state.forget(case.name)
            try:
                row, notes = _write_case(case, state.folder, site)
                state.add(case.name, hashed, row)
                outcome.notes += [f"{case.name}: {case.clean(printable(note))}" for note in notes]
            except (InputError, ConfigError) as error:
                outcome.failed[case.name] = case.clean(one_line(str(error)))
            step(case.name)
    finally:
        # Also of an interrupted run: what is done can be used.
        outcome.rows = _write_datalist(work)
    outcome.notes += _overall(work, outcome)
    return outcome


def _chosen(name: str, has_names: bool, has_numbers: bool) -> DataSet:
    """Return the set. Raises ConfigError where there is no such set, or it takes no map of names or of numbers."""
    if name not in SETS:
        raise ConfigError(f"no set {name!r}; there are: {', '.join(SETS)}")
    data_set = SETS[name]
    if has_names and not data_set.named:
        raise ConfigError(f"set {name!r} has its own names; leave out --names")
    if has_numbers and not data_set.numbered:
        raise ConfigError(f"set {name!r} names no patients; leave out --map")
    return data_set


def _check_site(listing: Listing, site: Site) -> None:
    lacking = {key for case in listing.cases for key in case.organs} - site.values.keys()
    if lacking:
        raise ConfigError(
            f"the set labels {', '.join(sorted(lacking))}, which site {site.site!r} has not; give its site"
        )


def _write_case(case: SourceCase, out: Path, site: Site) -> tuple[dict, list[str]]:
    """Read, check and write one case. Returns its row of the datalist, and notes."""
    loaded = case.load()
    labels = merged(loaded.masks, loaded.hu.shape, loaded.affine, site)
    row: dict = {part: f"{part}s/{case.name}.nii.gz" for part in ("image", "label")}
    try:
        for part, volume in (("label", labels.label), ("image", loaded.hu)):
            with whole_file(out / row[part]) as temporary:
                write_volume(temporary, volume, loaded.affine)
    except BaseException:
        for file in row.values():
            (out / file).unlink(missing_ok=True)
        raise
    spacing = voxel_spacing(loaded.affine).round(4).tolist()
    row |= {"labelled": list(labels.organs), "patient": case.patient}
    row |= {"spacing_mm": spacing, "shape": list(loaded.hu.shape), "overlap_voxels": labels.overlap_voxels}
    return row, _case_notes(loaded, labels)


def _case_notes(loaded: Loaded, labels: Labels) -> list[str]:
    notes = list(loaded.notes)
    if labels.overlap_voxels:
        notes.append(f"masks overlap in {labels.overlap_voxels} voxels, which the smaller organ has")
    if labels.empty:
        notes.append(f"masks without a voxel, not labelled: {', '.join(labels.empty)}")
    return notes


def _write_datalist(work: Plan) -> dict[str, list[dict]]:
    """Write ``dataset.json`` of the cases that are done and still in the source. Returns its rows by section."""
    settings, data_set = work.state.settings, work.data_set
    rows: dict[str, list[dict]] = {TRAINING: [], VALIDATION: []}
    for case in work.listing.cases:
        if case.name in work.state.cases:
            part = section(case.patient, settings["seed"], settings["validation"])
            rows[part].append(work.state.cases[case.name]["row"])
    content = {
        "name": data_set.title,
        "licence": data_set.licence,
        "source": data_set.source,
        "modality": {"0": "CT"},
        "labels": {"0": "background"} | {str(value): key for key, value in work.site.values.items()},
        "split": {"by": "patient", "seed": settings["seed"], "validation": settings["validation"]},
    }
    # Where nothing was converted, nothing is left behind that looks like a data set.
    if work.state.cases:
        write_json(work.state.folder / DATALIST, content | rows)
    return rows


def _overall(work: Plan, outcome: Conversion) -> list[str]:
    """Notes on the set as a whole."""
    notes = []
    gone = work.state.cases.keys() - {case.name for case in work.listing.cases}
    if gone:
        notes.append(f"{len(gone)} case(s) of an earlier run are no longer in the source and left out of {DATALIST}")
    empty = missing((part for part, rows in outcome.rows.items() if rows), work.state.settings["validation"])
    return notes + ([empty] if empty else [])
