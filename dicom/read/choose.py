"""Which CT series to contour: the only one, or the one that is asked for; never a guess."""

from __future__ import annotations

from collections.abc import Sequence

from oarseg.dicom.read.scan import MIN_SLICES, FoundSeries, Scan
from oarseg.errors import InputError

# A shorter piece of a UID fits by accident.
MIN_UID_PIECE = 4


def choose_series(scan: Scan, wanted: str | None = None) -> FoundSeries:
    """The CT series to read.

    ``wanted``: a full SeriesInstanceUID, a series number, or a prefix or suffix of a UID (at least ``MIN_UID_PIECE``
    characters) that fits one series only. Without it the folder must hold exactly one series of ``MIN_SLICES`` slices
    or more.

    Raises InputError: none, several (they are listed), no such series, a series too short, or files that may be
    slices of the series but cannot be read.
    """
    chosen = _only(scan) if wanted is None or not str(wanted).strip() else _wanted(scan, str(wanted).strip())
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


def _wanted(scan: Scan, wanted: str) -> FoundSeries:
    fits = _fits(scan.series, wanted)
    if len(fits) == 1:
        return fits[0]
    if fits:
        raise InputError(f"--series {wanted} fits {len(fits)} CT series; give the UID of one:\n{listing(fits)}")
    if wanted in scan.others:
        raise InputError(f"--series {wanted} is no CT series of one slice a file but: {scan.others[wanted]}")
    held = f"it holds:\n{listing(scan.series)}" if scan.series else "it holds no CT series"
    raise InputError(f"no CT series in folder {scan.folder} fits --series {wanted}; {held}")


def _fits(series: Sequence[FoundSeries], wanted: str) -> list[FoundSeries]:
    """Fits of the first rule that has any: full UID, series number, piece of a UID."""
    exact = [s for s in series if s.uid == wanted] or [s for s in series if s.number == wanted]
    if exact or len(wanted) < MIN_UID_PIECE:
        return exact
    return [s for s in series if s.uid.startswith(wanted) or s.uid.endswith(wanted)]


def listing(series: Sequence[FoundSeries]) -> str:
    """The series, one a line, numbered from 1. Patients are told apart by letter where there are several."""
    several = len({s.patient for s in series}) > 1
    lines = []
    for index, item in enumerate(series, 1):
        whose = f"patient {item.patient}, " if several else ""
        lines.append(f"  {index}. {whose}{item.line()}")
    return "\n".join(lines)
