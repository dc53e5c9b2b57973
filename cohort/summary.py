"""Tables of a cohort's results from its journal: ``cases.csv`` for programs, ``index.html`` for people."""

from __future__ import annotations

import csv
import html
import io
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from oarseg import __version__
from oarseg.cohort.journal import DONE, PAGE, TABLE
from oarseg.files import write_text
from oarseg.images.results_folder import PAGE as CASE_PAGE
from oarseg.inference.report.content import DISCLAIMER
from oarseg.sites import Site

HEAD = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>oarseg: cohort</title>
<style>
body { background: #101418; color: #e8ecf0; font: 14px/1.4 system-ui, sans-serif; margin: 1rem; }
a { color: #8ec5ff; } table { border-collapse: collapse; }
th, td { padding: .15rem .7rem .15rem 0; text-align: right; vertical-align: top; white-space: nowrap; }
th { color: #8d98a3; font-weight: normal; position: sticky; top: 0; background: #101418; }
.text { text-align: left; } .long { min-width: 30rem; white-space: normal; }
.odd { color: #ffd166; } .failed { color: #ff7b7b; } .note { color: #8d98a3; }
</style></head><body>
"""


def write_summary(out: Path, rows: Mapping[str, Mapping[str, Any]], site: Site) -> None:
    """Write both files into ``out``. ``rows``: by case name, of :class:`oarseg.cohort.journal.Journal`.

    Raises OutputError.
    """
    ordered = [rows[name] for name in sorted(rows)]
    organs = [
        key for key in site.values if any(key in _volumes(row) or key in row.get("missing", ()) for row in ordered)
    ]
    write_text(out / TABLE, table(ordered, organs))
    write_text(out / PAGE, page(ordered, organs, site))


def table(rows: list[Mapping[str, Any]], organs: list[str]) -> str:
    """Return CSV: one line for each case, one column for each volume (cm3), blank where an organ was not found."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    volumes = (f"{key}_cm3" for key in organs)
    writer.writerow(["case", "status", "seconds", *volumes, "not_found", "warnings", "computed_by", "reason"])
    for row in rows:
        cells = [row["case"], row["status"], row.get("seconds", ""), *(_volumes(row).get(key, "") for key in organs)]
        cells += [" ".join(row.get("missing", ())), " | ".join(row.get("warnings", ()))]
        writer.writerow([_plain(cell) for cell in (*cells, row.get("computed", ""), row.get("reason", ""))])
    return buffer.getvalue()


def page(rows: list[Mapping[str, Any]], organs: list[str], site: Site) -> str:
    """Return a table of all cases with links to their pages; volumes outside the usual range stand out."""
    done = [row for row in rows if row["status"] == DONE]
    title = f"<h1>{len(done)} of {len(rows)} cases contoured by oarseg {__version__}</h1>"
    title += f"<p>{html.escape(DISCLAIMER)}</p>"
    heads = ["case", *(site.organ(key).name for key in organs), "seconds", "remarks"]
    kinds = {0: ' class="text"', len(heads) - 1: ' class="text long"'}
    cells = (f"<th{kinds.get(n, '')}>{html.escape(head)}</th>" for n, head in enumerate(heads))
    lines = [f"<tr>{''.join(cells)}</tr>"]
    lines += [_line(row, organs, site) for row in sorted(rows, key=lambda row: row["status"] == DONE)]
    lines.append(_medians(done, organs))
    note = '<p class="note">cm³; failed cases first; in yellow what lies outside the usual range of the organ.</p>'
    return f"{HEAD}{title}{note}<table>\n" + "\n".join(lines) + "\n</table></body></html>\n"


def _line(row: Mapping[str, Any], organs: list[str], site: Site) -> str:
    name = html.escape(row["case"])
    if row["status"] != DONE:
        reason = html.escape(row.get("reason", ""))
        cells = f'<td class="text">{name}</td><td class="text long" colspan="{len(organs) + 2}">{reason}</td>'
        return f'<tr class="failed">{cells}</tr>'
    volumes, cells = _volumes(row), []
    for key in organs:
        low, high = site.organ(key).volume_cm3
        found = volumes.get(key)
        odd = ' class="odd"' if found is None or not low <= found <= high else ""
        cells.append(f"<td{odd}>{'-' if found is None else f'{found:.1f}'}</td>")
    link = f'<a href="{quote(row["case"])}/{CASE_PAGE}">{name}</a>'
    remarks = html.escape("; ".join(row.get("warnings", ())))
    seconds = f"{row.get('seconds', 0):.1f}"
    ends = f'<td>{seconds}</td><td class="text long">{remarks}</td>'
    return f'<tr><td class="text">{link}</td>{"".join(cells)}{ends}</tr>'


def _medians(done: list[Mapping[str, Any]], organs: list[str]) -> str:
    if not done:
        return ""
    cells = []
    for key in organs:
        found = [_volumes(row)[key] for row in done if key in _volumes(row)]
        cells.append(f"<td>{statistics.median(found):.1f}</td>" if found else "<td>-</td>")
    seconds = statistics.median(row.get("seconds", 0) for row in done)
    return f'<tr class="note"><td class="text">median</td>{"".join(cells)}<td>{seconds:.1f}</td><td></td></tr>'


def _volumes(row: Mapping[str, Any]) -> Mapping[str, float]:
    return row.get("volumes_cm3", {})


def _plain(cell: object) -> object:
    """Return text that no spreadsheet takes for a formula."""
    return f"'{cell}" if isinstance(cell, str) and cell[:1] in ("=", "+", "-", "@") else cell
