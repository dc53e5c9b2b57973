"""The results table in the repository's README, rendered like everything else that repeats a stored figure."""

from __future__ import annotations

import re
from pathlib import Path

from oarseg.bundles.provenance import is_shipped
from oarseg.bundles.shipped import shipped
from oarseg.files import write_text
from oarseg.sites import Site

MARKS = re.compile(r"(<!-- results:begin -->\n).*?(<!-- results:end -->)", re.DOTALL)
# Of the whole table: organ, cases, Dice of stage 1 and of both, 95 % interval, HD95.
COLUMNS = 6


def compact_table() -> str:
    """Return the first columns of the stored results table, without the note below it."""
    rows = [line.split("|") for line in shipped().results_table.splitlines() if line.startswith("|")]
    return "\n".join("|".join(row[: COLUMNS + 1]) + "|" for row in rows)


def sync_readme(site: Site, readme: Path, check: bool = False) -> bool:
    """Write the table between the marks of ``readme``, unless ``check``; return whether it differed.

    The table is the shipped site's: another one leaves the file alone.
    """
    if not is_shipped(site) or not readme.is_file():
        return False
    text = readme.read_text(encoding="utf-8")
    new = MARKS.sub(rf"\g<1>{compact_table()}\n\g<2>", text)
    if new != text and not check:
        write_text(readme, new)
    return new != text
