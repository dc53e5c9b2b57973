"""Which CT series to contour: the only one, or the one that the user names; never a guess."""

from __future__ import annotations

from collections.abc import Sequence

from oarseg.dicom.read.scan import MIN_SLICES, FoundSeries, Scan
from oarseg.errors import InputError

# A shorter piece of a UID fits by accident.
MIN_UID_PIECE = 4


def choose_series(scan: Scan, series: str | None = None) -> FoundSeries:
    """Return the CT series to read.

    ``series``: a full SeriesInstanceUID, a series number, or a prefix or suffix of a UID (at least ``MIN_UID_PIECE``
    characters) that fits one series only. Without it the folder must hold exactly one series of ``MIN_SLICES`` slices
    or more.

    Raises InputError: none, several (they are listed), no such series, a series too short, or files that may be
    slices of the series but cannot be read.
    """
    named = "" if series is None else str(series).strip()
    chosen = _named(scan, named) if named else _only(scan)
    if chosen.count < MIN_SLICES:
        raise InputError(f"{chosen.line()}: too few slices, at least {MIN_SLICES} are needed; give the planning CT")
    if scan.damaged:
        names = ", ".join(f"{u.path.name} ({u.reason})" for u in scan.damaged[:5])
        raise InputError(
            f"{len(scan.damaged)} file(s) cannot be read and may belong to the CT: {names}; "
            "export the series again, or take the file(s) out of the folder"
        )
    return chosen


def _only(scan: Scan) -> FoundSeries:
    usable = [s for s in scan.series if s.count >= MIN_SLICES]
    if len(usable) == 1:
        return usable[0]
    if usable:
        raise InputError(
            f"folder {scan.folder} holds {len(usable)} CT series; choose one with --series "
            f"(UID, the end of a UID, or series number):\n{listing(usable)}"
        )
    if scan.series:
        raise InputError(
            f"folder {scan.folder} holds no CT series of {MIN_SLICES} or more slices; give the planning CT. "
            f"It holds:\n{listing(scan.series)}"
        )
    held = "; ".join(scan.notes) or "nothing readable"
    raise InputError(f"folder {scan.folder} holds no CT slices; give the folder of the planning CT. It holds: {held}")


def _named(scan: Scan, name: str) -> FoundSeries:
    fits = _fits(scan.series, name)
    if len(fits) == 1:
        return fits[0]
    if fits:
        raise InputError(f"--series {name} fits {len(fits)} CT series; give the UID of one:\n{listing(fits)}")
    if name in scan.others:
        raise InputError(f"--series {name} is no CT series of one slice a file but: {scan.others[name]}")
    held = f"it holds:\n{listing(scan.series)}" if scan.series else "it holds no CT series"
    raise InputError(f"no CT series in folder {scan.folder} fits --series {name}; {held}")


def _fits(series: Sequence[FoundSeries], name: str) -> list[FoundSeries]:
    """Return what fits by the first rule that any fits: full UID, series number, piece of a UID."""
    exact = [s for s in series if s.uid == name] or [s for s in series if s.number == name]
    if exact or len(name) < MIN_UID_PIECE:
        return exact
    return [s for s in series if s.uid.startswith(name) or s.uid.endswith(name)]


def listing(series: Sequence[FoundSeries]) -> str:
    """Return the series as lines, numbered from 1. Several patients have a letter each."""
    several = len({s.patient for s in series}) > 1
    lines = []
    for index, item in enumerate(series, 1):
        whose = f"patient {item.patient}, " if several else ""
        lines.append(f"  {index}. {whose}{item.line()}")
    return "\n".join(lines)
