"""The results table in the repository's README, rendered like everything else that repeats a stored figure."""

from __future__ import annotations

import re
from pathlib import Path

from oarseg.bundles.provenance import is_shipped
from oarseg.bundles.shipped import shipped
from oarseg.sites import Site

MARKS = re.compile(r"(<!-- results:begin -->\n).*?(<!-- results:end -->)", re.DOTALL)


def sync_readme(site: Site, readme: Path, check: bool = False) -> bool:
    """Whether the table between the marks of ``readme`` differed; written unless ``check``. False without one.

    The table is the shipped site's: another one leaves the file alone.
    """
    if not is_shipped(site) or not readme.is_file():
        return False
    text = readme.read_text(encoding="utf-8")
    table = shipped().results_table
    new = MARKS.sub(lambda match: f"{match[1]}{table}\n{match[2]}", text)
    if new != text and not check:
        readme.write_text(new, encoding="utf-8")
    return new != text
