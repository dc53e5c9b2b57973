"""Facts about the weights that come with oarseg, from ``shipped.json``: checksums, data, training, validation scores.

``python -m experiments.scores.facts`` writes the scores and the table from the stored rows; the rest is edited by hand
when weights change.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

FACTS = Path(__file__).resolve().parent / "shipped.json"


@dataclass(frozen=True)
class Score:
    """Validation Dice of one organ.

    ``cases``: how many have a reference. ``dice``, ``sd``, ``lowest``: mean, standard deviation, lowest. ``low``,
    ``high``: 95 % interval of the mean, None for few cases. ``missed``: cases in which the organ was not found.
    ``hd95_mm``: mean, None where no case has one.
    """

    cases: int
    dice: float
    sd: float
    lowest: float
    low: float | None
    high: float | None
    missed: int
    hd95_mm: float | None

    @property
    def text(self) -> str:
        """Mean and, of more than one case, standard deviation."""
        return f"{self.dice:.3f} ± {self.sd:.3f}" if self.cases > 1 else f"{self.dice:.3f}"


@dataclass(frozen=True)
class Shipped:
    """The content of ``shipped.json``. ``weights``: SHA-256 of ``models/model.pt`` by bundle. ``training``: by part.

    ``scores``: by method ("stage1", "two_stage") and organ key. ``results_table``: Markdown.
    """

    site: str
    changelog: dict[str, str]
    data_source: str
    data: str
    validation: str
    limits: str
    references: tuple[str, ...]
    weights: dict[str, str]
    training: dict[str, str]
    scores: dict[str, dict[str, Score]]
    results_table: str


@cache
def shipped() -> Shipped:
    """Return the facts about the installed weights."""
    content: dict[str, Any] = json.loads(FACTS.read_text(encoding="utf-8"))
    scores = {
        method: {organ: Score(**row) for organ, row in rows.items()} for method, rows in content["scores"].items()
    }
    changed = {
        "references": tuple(content["references"]),
        "scores": scores,
        "results_table": "\n".join(content["results_table"]),
    }
    return Shipped(**(content | changed))
