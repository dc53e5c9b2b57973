"""What is stored of the ablations, put together: means with intervals, paired differences, order, cost."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.ablation.plan import Plan, Table
from oarseg.errors import ConfigError
from oarseg.evaluation.scores import read_scores
from oarseg.evaluation.summary import LEAST_CASES, MeanStat, Summary, mean_over_organs, summarize
from oarseg.sites import Site


@dataclass(frozen=True)
class Stored:
    """A row's results: ``scores`` as of ``read_scores``, their ``summary``, and the ``facts`` of its trainings."""

    name: str
    title: str
    scores: Sequence[Mapping]
    summary: Summary
    facts: Mapping

    def mean(self, organs: Collection[str] | None = None) -> MeanStat | None:
        """Dice, mean over organs: those of ``organs``, or all."""
        return mean_over_organs([score for score in self.scores if organs is None or score["organ"] in organs])

    @property
    def recipe(self) -> str:
        """Of the bundle that trained its stage 1; empty where that is another row's."""
        return self.facts["trainings"].get("localizer", {}).get("recipe", "")


def read_stored(plan: Plan, results: Path, site: Site) -> dict[str, Stored]:
    """The rows of the plan that are stored, by name. Raises ConfigError where a file of them is malformed."""
    stored = {}
    for row in plan.rows.values():
        csv, facts = results / f"{row.name}.csv", results / f"{row.name}.json"
        if csv.is_file() and facts.is_file():
            scores = read_scores(csv)
            stored[row.name] = Stored(row.name, row.title, scores, summarize(scores, site), _facts(facts))
    return stored


def _facts(path: Path) -> dict:
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        for part in facts["trainings"].values():
            _ = part["steps"], part["core_seconds"], part["parameters"], part["final_loss"], part["command"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path.name} is no record of a training: {error!r}; run the row again") from error
    return facts


def well_covered(stored: Mapping[str, Stored]) -> list[str]:
    """Organs that at least ``LEAST_CASES`` cases label: a mean of the others is one or two patients."""
    organs = [organ for row in stored.values() for organ in row.summary.organs.values()]
    return list(dict.fromkeys(organ.organ for organ in organs if organ.n >= LEAST_CASES))


def difference(row: Stored, against: Stored, organs: Collection[str] | None = None) -> MeanStat | None:
    """Mean over organs of the paired differences in Dice, with the interval that resampling the cases gives.

    None where the two rows have no case and organ in common.
    """
    other = {(score["case"], score["organ"]): score["dice"] for score in against.scores}
    pairs = []
    for score in row.scores:
        dice = other.get((score["case"], score["organ"]))
        if organs is not None and score["organ"] not in organs:
            continue
        if dice is not None and score["dice"] is not None:
            pairs.append({"case": score["case"], "organ": score["organ"], "dice": score["dice"] - dice})
    return mean_over_organs(pairs)


def published_mean(plan: Plan, column: str | None, organs: Collection[str] | None = None) -> float | None:
    """Mean over organs of a published column, those of ``organs`` or all; organs that failed there count as 0."""
    published = plan.published.get(column or "", {})
    dice = [value for organ, value in published.items() if organs is None or organ in organs]
    return sum(dice) / len(dice) if dice else None


def core_seconds(name: str, stored: Mapping[str, Stored]) -> float | None:
    """Processor time of all that a row's result rests on, its stage 1 included; None where some of it is not known."""
    facts = stored[name].facts
    parts = [part["core_seconds"] for part in facts["trainings"].values()]
    if facts.get("localizer"):
        parts.append(core_seconds(facts["localizer"], stored) if facts["localizer"] in stored else None)
    return None if None in parts else sum(parts)


def orders(
    table: Table, plan: Plan, stored: Mapping[str, Stored], organs: Collection[str] | None = None
) -> tuple[list[str], list[str]]:
    """Names of the rows that are both stored and published, best mean first: here, and as published."""
    both = {name: column for name, column in table.rows.items() if column and name in stored}
    both = {name: column for name, column in both.items() if published_mean(plan, column, organs) is not None}
    both = {name: column for name, column in both.items() if stored[name].mean(organs)}
    here = sorted(both, key=lambda name: -stored[name].mean(organs).mean)
    there = sorted(both, key=lambda name: -published_mean(plan, both[name], organs))
    return here, there


def exchanged(here: Sequence[str], there: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs whose order differs: (better here, better there)."""
    place = {name: number for number, name in enumerate(there)}
    return [(a, b) for i, a in enumerate(here) for b in here[i + 1 :] if place[a] > place[b]]
