"""Writes the validation scores and the results table of ``bundles/shipped.json`` from the stored results.

    python -m experiments.scores.facts            then: oarseg bundles sync
    python -m experiments.scores.facts --check    exit 1 where they differ
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from experiments.scores.tables import METHODS, RESULTS, Summary, results_table, validation_summary
from oarseg.bundles.shipped import FACTS
from oarseg.files import write_text
from oarseg.sites import load_site


def score(summary: Summary) -> dict[str, Any]:
    """Return an organ's figures as :class:`oarseg.bundles.shipped.Score` has them."""
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


def main(argv: list[str] | None = None) -> int:
    """Write the file, or check it; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where it differs")
    check = parser.parse_args(argv).check
    before = FACTS.read_text(encoding="utf-8")
    after = json.dumps(with_scores(json.loads(before)), indent=1, ensure_ascii=False) + "\n"
    if before == after:
        print(f"{FACTS.name} agrees with {RESULTS}")
        return 0
    if check:
        print(f"{FACTS.name} differs from {RESULTS}; run: python -m experiments.scores.facts", file=sys.stderr)
        return 1
    write_text(FACTS, after)
    print(f"wrote {FACTS}; run: oarseg bundles sync")
    return 0


if __name__ == "__main__":
    sys.exit(main())
