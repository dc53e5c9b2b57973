"""Writes the scores and the table of ``bundles/shipped.json``, and the table in the README, from the stored results.

    python -m experiments.scores.facts            then: oarseg bundles sync
    python -m experiments.scores.facts --check    exit 1 where they differ
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

from experiments.scores.tables import METHODS, RESULTS, Summary, results_table, validation_summary
from oarseg.bundles.facts import FACTS
from oarseg.files import write_text
from oarseg.sites import load_site

README = Path(__file__).resolve().parents[2] / "README.md"
MARKS = re.compile(r"(<!-- results:begin -->\n).*?(<!-- results:end -->)", re.DOTALL)
# Of the table, in the README: organ, cases, Dice of stage 1 and of both, 95 % interval, HD95.
COLUMNS = 6


def score(summary: Summary) -> dict[str, Any]:
    """Return an organ's figures as :class:`oarseg.bundles.facts.Score` has them."""
    return {
        "cases": summary.n,
        "dice": round(summary.mean, 6),
        "sd": round(summary.sd, 6),
        "lowest": round(summary.lowest, 6),
        "low": None if summary.low is None else round(summary.low, 6),
        "high": None if summary.high is None else round(summary.high, 6),
        "missed": summary.missed,
        "hd95_mm": None if summary.hd95 is None else round(summary.hd95.mean, 6),
    }


def with_scores(content: dict[str, Any], folder: Path = RESULTS) -> dict[str, Any]:
    """Return ``content``, that of ``shipped.json``, with the scores and the table of the results in ``folder``."""
    scores = {
        method: {key: score(summary) for key, summary in validation_summary(method, folder).items()}
        for method in METHODS
    }
    table = results_table(load_site(content["site"]), folder)
    return content | {"scores": scores, "results_table": table.splitlines()}


def with_table(text: str, table: str) -> str:
    """Return ``text``, that of the README, with the first columns of ``table`` between its marks."""
    rows = [line.split("|")[: COLUMNS + 1] for line in table.splitlines() if line.startswith("|")]
    compact = "\n".join("|".join(row) + "|" for row in rows)
    return MARKS.sub(lambda marks: f"{marks[1]}{compact}\n{marks[2]}", text)


def main(argv: list[str] | None = None) -> int:
    """Write the two files, or check them; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where they differ")
    check = parser.parse_args(argv).check
    content = with_scores(json.loads(FACTS.read_text(encoding="utf-8")))
    table = "\n".join(content["results_table"])
    rendered = {
        FACTS: json.dumps(content, indent=1, ensure_ascii=False) + "\n",
        README: with_table(README.read_text(encoding="utf-8"), table),
    }
    differing = {path: text for path, text in rendered.items() if path.read_text(encoding="utf-8") != text}
    if not differing:
        print(f"{FACTS.name} and {README.name} agree with {RESULTS}")
        return 0
    names = ", ".join(path.name for path in differing)
    if check:
        print(f"{names}: not as in {RESULTS}; run: python -m experiments.scores.facts", file=sys.stderr)
        return 1
    for path, text in differing.items():
        write_text(path, text)
    print(f"wrote {names}; run: oarseg bundles sync")
    return 0


if __name__ == "__main__":
    sys.exit(main())
