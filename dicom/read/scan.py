"""What a folder holds: its CT series, and notes on all that is not a CT slice. Headers only."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from oarseg.dicom.read.header import DICOMDIR, ENHANCED_CT, Header, Unreadable, read_header
from oarseg.errors import InputError
from oarseg.files import unreadable_folder

# A folder beyond these bounds is an archive or a wrong path, not a patient.
MAX_FILES = 20_000
MAX_DEPTH = 6
# Fewer slices make no volume: spacing cannot be checked.
MIN_SLICES = 3


@dataclass(frozen=True)
class FoundSeries:
    """One CT series. ``slices``: headers in file order, localizers and repeated copies taken out.

    ``patient``: A, B, ... by order of appearance, so that two patients in one folder are distinct without being named.
    """

    uid: str
    number: str
    description: str
    patient: str
    slices: tuple[Header, ...]

    @property
    def count(self) -> int:
        """Number of slices."""
        return len(self.slices)

    def line(self) -> str:
        """Return one line for a list: number, description, slices, size, thickness, UID. No patient data."""
        described = f"'{self.description}'" if self.description else "no description"
        rows, columns, thickness = (self.slices[0].text(k, "?") for k in ("Rows", "Columns", "SliceThickness"))
        return (
            f"series {self.number or '-'} ({described}): {self.count} slices of {rows} x {columns}, "
            f"{thickness} mm thick, UID {self.uid}"
        )


@dataclass(frozen=True)
class Scan:
    """Result of ``scan_folder``.

    ``series``: CT series, by number. ``notes``: how many files were ignored and why; they name no file, as files may be
    called by patients. ``damaged``: files that may be CT slices but cannot be read. ``others``: UID -> what it is, for
    series that are no classic CT, so that who names one gets an answer.
    """

    folder: Path
    series: tuple[FoundSeries, ...]
    notes: tuple[str, ...]
    damaged: tuple[Unreadable, ...]
    others: dict[str, str]


def scan_folder(folder: str | Path) -> Scan:
    """Return the CT series below ``folder``, by the headers of its files, and notes on all else.

    Hidden files are passed over, linked folders are not entered. Raises InputError where the folder is missing, not a
    folder, empty, or beyond ``MAX_FILES``.
    """
    root = Path(folder)
    if not root.exists():
        raise InputError(f"folder {root} does not exist; give the folder that holds the CT slices")
    if not root.is_dir():
        raise InputError(f"{root} is a file; give the folder that holds the CT slices")
    read = [read_header(path) for path in files_below(root, f"folder {root}", unreadable_folder)]
    if not read:
        raise InputError(f"folder {root} holds no files (searched {MAX_DEPTH} levels deep); give the CT folder")
    headers = [h for h in read if isinstance(h, Header)]
    unreadable = [u for u in read if isinstance(u, Unreadable)]
    slices, notes, others = _separate(headers)
    series, copies = _group(slices)
    if copies:
        notes.append(f"{copies} file(s) ignored: copies of slices that are there already")
    notes += _patient_notes(headers, series)
    reasons = Counter(item.reason for item in unreadable)
    notes += [f"{count} file(s) ignored: {reason}" for reason, count in sorted(reasons.items())]
    return Scan(root, tuple(series), tuple(notes), tuple(u for u in unreadable if u.suspect), others)


def files_below(
    root: Path, called: str, onerror: Callable[[OSError], object] | None = None
) -> Iterator[Path]:
    """Yield the files of a patient's folder, ``MAX_DEPTH`` levels deep, by path, but hidden ones and linked folders.

    Args: ``called``: the folder's name in messages. ``onerror``: takes the error of a folder that cannot be read.
    Raises InputError where there are more than ``MAX_FILES``.
    """
    count = 0
    for place, folders, names in os.walk(root, onerror=onerror):
        depth = len(Path(place).relative_to(root).parts)
        folders[:] = sorted(f for f in folders if not f.startswith(".")) if depth < MAX_DEPTH else []
        for name in sorted(names):
            path = Path(place) / name
            if name.startswith(".") or not path.is_file():
                continue
            count += 1
            if count > MAX_FILES:
                raise InputError(f"{called} holds more than {MAX_FILES} files; give one patient's CT folder")
            yield path


def _separate(headers: Sequence[Header]) -> tuple[list[Header], list[str], dict[str, str]]:
    """Return CT slices, notes on the rest, and what the other series are."""
    slices: list[Header] = []
    kinds: Counter[str] = Counter()
    others: dict[str, str] = {}
    for header in headers:
        kind = _kind(header)
        if kind == "CT slice":
            slices.append(header)
            continue
        kinds[kind] += 1
        uid = header.text("SeriesInstanceUID")
        if uid:
            others.setdefault(uid, kind)
    return slices, [f"{count} file(s) ignored: {kind}" for kind, count in sorted(kinds.items())], others


def _kind(header: Header) -> str:
    sop_class = header.text("SOPClassUID")
    if str(header.dataset.file_meta.get("MediaStorageSOPClassUID", "")) == DICOMDIR:
        return "DICOMDIR"
    if sop_class in ENHANCED_CT:
        return "enhanced multi-frame CT (convert it to classic CT, one slice a file)"
    if header.is_ct:
        return "CT localizer (scout) image" if header.is_localizer else "CT slice"
    modality = header.text("Modality", "unknown")
    if modality == "CT":
        return "CT object that is no CT image (secondary capture, report)"
    return f"{modality} object"


def _group(slices: Sequence[Header]) -> tuple[list[FoundSeries], int]:
    """Return series by UID, each without repeated copies of one SOP instance, and the number of such copies."""
    by_uid: dict[str, dict[str, Header]] = defaultdict(dict)
    copies = 0
    for header in slices:
        group = by_uid[header.text("SeriesInstanceUID")]
        instance = header.text("SOPInstanceUID") or f"no UID: {header.path}"
        if instance in group and _same_slice(group[instance], header):
            copies += 1
            # Of two copies the longer one is kept: the other may have been cut short.
            if header.bytes_left > group[instance].bytes_left:
                group[instance] = header
        else:
            group[instance if instance not in group else f"{instance} {header.path}"] = header
    patients: dict[str, str] = {}
    found = [_found(uid, tuple(group.values()), patients) for uid, group in by_uid.items()]
    return sorted(found, key=lambda s: (_as_int(s.number), s.uid)), copies


def _same_slice(a: Header, b: Header) -> bool:
    return a.dataset.get("ImagePositionPatient") == b.dataset.get("ImagePositionPatient")


def _found(uid: str, slices: tuple[Header, ...], patients: dict[str, str]) -> FoundSeries:
    first = slices[0]
    letter = patients.setdefault(patient_key(first), chr(ord("A") + min(len(patients), 25)))
    return FoundSeries(uid, first.text("SeriesNumber"), first.text("SeriesDescription"), letter, slices)


def patient_key(header: Header) -> str:
    """Return what tells patients apart in memory; it must never be shown."""
    return header.text("PatientID") or header.text("PatientName")


def _as_int(text: str) -> int:
    try:
        return int(text)
    except ValueError:  # no number, or one of thousands of digits
        return 0


def _patient_notes(headers: Sequence[Header], series: Sequence[FoundSeries]) -> list[str]:
    notes = []
    known = {patient_key(h) for s in series for h in s.slices}
    foreign = sum(h.text("Modality") == "RTSTRUCT" and patient_key(h) not in known for h in headers)
    if known and foreign:
        notes.append(f"{foreign} RTSTRUCT file(s) are of another patient than the CT")
    if len(known) > 1:
        notes.append(f"the folder holds CT slices of {len(known)} patients")
    return notes
