"""What a round of self-training did, as Markdown: counts and reasons by organ, agreement, and each case's outcome."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from experiments.silver.choice import ACCEPTED, DROPPED, KEPT, OWN, Verdict
from oarseg.text import printable


def report(verdicts: Mapping[str, Sequence[Verdict]], organs: Sequence[str], heading: str) -> str:
    """The whole report. ``verdicts`` by case name; ``organs``: keys of the chosen organs."""
    by_organ = {key: [v for row in verdicts.values() for v in row if v.organ == key] for key in organs}
    lines = [f"# {heading}", "", *_outcomes(by_organ), "", *_reasons(by_organ), "", *_agreement(by_organ), ""]
    lines += ["## Case by case", "", "| case | " + " | ".join(organs) + " |", "|---" * (len(organs) + 1) + "|"]
    for case, row in verdicts.items():
        outcomes = {v.organ: v.outcome + (f" ({v.reason})" if v.reason else "") for v in row}
        lines.append(f"| {_cell(case)} | " + " | ".join(outcomes.get(key, "") for key in organs) + " |")
    return "\n".join(lines) + "\n"


def summary(verdicts: Mapping[str, Sequence[Verdict]], organs: Sequence[str]) -> str:
    """The counts alone, for the terminal."""
    by_organ = {key: [v for row in verdicts.values() for v in row if v.organ == key] for key in organs}
    return "\n".join([*_outcomes(by_organ), "", *_reasons(by_organ)])


def _cell(name: str) -> str:
    """A file's name that breaks no table."""
    return printable(name).replace("|", "\\|")


def _outcomes(by_organ: Mapping[str, Sequence[Verdict]]) -> list[str]:
    lines = ["| organ | own labels | network's accepted | former kept | dropped | silver in all |", "|---" * 6 + "|"]
    for key, rows in by_organ.items():
        count = Counter(v.outcome for v in rows)
        numbers = [count[OWN], count[ACCEPTED], count[KEPT], count[DROPPED], count[ACCEPTED] + count[KEPT]]
        lines.append(f"| {key} | " + " | ".join(map(str, numbers)) + " |")
    return lines


def _reasons(by_organ: Mapping[str, Sequence[Verdict]]) -> list[str]:
    lines = ["Why the network's contour was not taken (in brackets: cases where the former one stayed):", ""]
    for key, rows in by_organ.items():
        refused = Counter(v.reason for v in rows if v.reason)
        kept = Counter(v.reason for v in rows if v.reason and v.outcome == KEPT)
        text = ", ".join(f"{r} {n}" + (f" ({kept[r]})" if kept[r] else "") for r, n in refused.most_common())
        lost = Counter(v.former_reason for v in rows if v.former_reason and v.outcome == DROPPED)
        text += "; former ones dropped: " + ", ".join(f"{r} {n}" for r, n in lost.most_common()) if lost else ""
        lines.append(f"- {key}: {text or 'never'}")
    return lines


def _agreement(by_organ: Mapping[str, Sequence[Verdict]]) -> list[str]:
    head = ["organ", "n", "Dice with the former label: 5 %, median, 95 %", "centres apart, mm: median, 95 %"]
    head += ["accepted", "Dice of the stages: 5 %, median"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for key, rows in by_organ.items():
        both = [v for v in rows if v.former_dice is not None]
        taken = [v.stages_dice for v in rows if v.outcome == ACCEPTED]
        dices = _quantiles([v.former_dice for v in both], (5, 50, 95))
        apart = _quantiles([v.former_mm for v in both], (50, 95), 1)
        lines.append(f"| {key} | {len(both)} | {dices} | {apart} | {len(taken)} | {_quantiles(taken, (5, 50))} |")
    note = "Where both drew the organ, accepted or not; the stages' agreement where it was accepted:"
    return [note, "", *lines]


def _quantiles(values: Sequence[float], which: Sequence[int], digits: int = 2) -> str:
    return ", ".join(f"{np.percentile(values, q):.{digits}f}" for q in which) if values else "-"
