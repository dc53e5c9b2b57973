"""Margins proposed from what training cases needed, checked on validation cases.

Choosing on the validation cases would be tuning on what is reported, so an organ's margins come from the training
cases. Their references were seen by the localizer in training, so its boxes are better there. How much better is one
figure an axis, pooled over all organs that have clinical or expert references in both sections, and it is added as an
allowance: the only thing that the proposal takes from the validation cases.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from experiments.localization.store import AXES, LEAST_CASE_SHARE, LEAST_SHARE, BoxRow
from oarseg.errors import ConfigError
from oarseg.sites import Organ, Site

Triple = tuple[float, float, float]
# Of the needs in a section: high enough to be about the hard cases, low enough to be more than one of them.
ALLOWANCE_QUANTILE = 0.95


@dataclass(frozen=True)
class Proposal:
    """Margins of one organ (and its mirror), mm, D, H, W.

    ``alone``: what the training cases need if there were no least size (``field_mm``). ``trained``: what they need
    beside the least size. ``proposed``: ``trained`` and the allowance, never less than the table's. ``field``: the
    least size that would hold them without any margin, allowance included. ``growth``: by what factor stage 2's voxels
    grow along each axis, mean of the training cases.
    """

    organ: Organ
    cases: int
    alone: Triple
    trained: Triple
    proposed: Triple
    field: Triple
    growth: Triple


def proposals(rows: Sequence[BoxRow], site: Site) -> list[Proposal]:
    """For each organ of the table with training rows; twins share theirs. Raises ConfigError where there are none."""
    training = [row for row in rows if row.section == "training" and row.found]
    if not training:
        raise ConfigError("no row of the section 'training', which margins are chosen on; run coverage on it")
    extra = allowance(rows)
    found = []
    for organ in site.organs:
        # Twins: their networks are mirror images of one another and must see one scale.
        groups = [[r for r in rows if r.section == "training" and r.organ == k] for k in (organ.key, organ.mirror) if k]
        groups = [group for group in groups if any(row.found for row in group)]
        if groups:
            found.append(_propose(organ, groups, extra))
    return found


def _propose(organ: Organ, groups: list[list[BoxRow]], extra: Triple) -> Proposal:
    none = (0.0, 0.0, 0.0)
    alone, trained = (
        _largest(margin_for(group, field) for group in groups) for field in (none, organ.field_mm)
    )
    # A margin that the least size makes unnecessary stays unnecessary only with the allowance in the need.
    needed = _largest(margin_for(group, organ.field_mm, extra) for group in groups)
    proposed = tuple(max(a, b) for a, b in zip(needed, organ.margin_mm, strict=True))
    rows = [row for group in groups for row in group if row.found]
    field = _largest(field_for(group, extra) for group in groups)
    growth = tuple(np.mean([_sizes(r, organ, proposed) / _sizes(r, organ, organ.margin_mm) for r in rows], axis=0))
    return Proposal(organ, len(groups[0]), alone, trained, proposed, field, tuple(map(float, growth)))


def margin_for(rows: Sequence[BoxRow], field: Triple, extra: Triple = (0.0, 0.0, 0.0)) -> Triple:
    """The smallest whole margins, mm, with which ``LEAST_CASE_SHARE`` of the rows are held.

    Needs are raised by ``extra``. A need that the least size ``field`` meets asks for no margin. Organs that stage 1
    did not find count among the cases that may fail; no margin helps them.
    """
    needs = []
    for row in (r for r in rows if r.found):
        raised = [need + more for need, more in zip(row.needs, extra, strict=True)]
        room = [(f - size) / 2 for f, size in zip(field, row.size, strict=True)]
        needs.append([max(0.0, need) if need > free else 0.0 for need, free in zip(raised, room, strict=True)])
    return _whole(_spared(np.array(needs), _may_fail(rows)))


def field_for(rows: Sequence[BoxRow], extra: Triple = (0.0, 0.0, 0.0)) -> Triple:
    """The smallest whole least size, mm, that holds ``LEAST_CASE_SHARE`` of the rows, no margin; as ``margin_for``."""
    found = [row for row in rows if row.found]
    sizes = [[s + 2 * (n + e) for s, n, e in zip(row.size, row.needs, extra, strict=True)] for row in found]
    return _whole(_spared(np.array(sizes), _may_fail(rows)))


def _may_fail(rows: Sequence[BoxRow]) -> int:
    return max(0, math.floor(len(rows) * (1 - LEAST_CASE_SHARE) + 1e-9) - sum(not row.found for row in rows))


def _spared(values: np.ndarray, count: int) -> np.ndarray:
    """The largest of each column of ``values`` (cases, 3), without the ``count`` cases that cost most, one by one."""
    for _ in range(min(count, len(values) - 1)):
        left = [np.delete(values, i, axis=0) for i in range(len(values))]
        values = min(left, key=lambda rest: rest.max(axis=0).sum())
    return values.max(axis=0)


def held(row: BoxRow, margin: Triple, field: Triple) -> bool:
    """Whether a box enlarged so holds ``LEAST_SHARE`` for certain (``BoxRow.needs`` are sufficient, not necessary)."""
    if not row.found:
        return False
    room = (max(m, (f - s) / 2) for m, f, s in zip(margin, field, row.size, strict=True))
    return all(need <= free + 1e-6 for need, free in zip(row.needs, room, strict=True))


def allowance(rows: Sequence[BoxRow]) -> Triple:
    """By how many whole mm the needs of validation cases exceed those of training cases, D, H, W; at least 0.

    The difference of the ``ALLOWANCE_QUANTILE``s, over organs with own (not silver) references in both sections; 0
    where there are none.
    """
    own = [row for row in rows if row.found and not row.silver]
    organs = {r.organ for r in own if r.section == "training"} & {r.organ for r in own if r.section == "validation"}
    needs = [[r.needs for r in own if r.section == s and r.organ in organs] for s in ("training", "validation")]
    if not organs:
        return 0.0, 0.0, 0.0
    training, validation = (np.quantile(np.array(n), ALLOWANCE_QUANTILE, axis=0) for n in needs)
    return _whole(np.maximum(validation - training, 0))


def _sizes(row: BoxRow, organ: Organ, margin: Triple) -> np.ndarray:
    return np.maximum(np.array(row.size) + 2 * np.array(margin), organ.field_mm)


def _largest(triples: object) -> Triple:
    return tuple(max(axis) for axis in zip(*triples, strict=True))


def _whole(values: np.ndarray) -> Triple:
    return tuple(float(math.ceil(v - 1e-6)) for v in values)


def margins_table(rows: Sequence[BoxRow], site: Site) -> str:
    """Markdown: per organ what it has, what training cases need, the proposal, its cost and its check."""
    extra = allowance(rows)
    lines = [
        f"Needed for {LEAST_SHARE:.1%} of the voxels in {LEAST_CASE_SHARE:.0%} of the cases, mm, {' / '.join(AXES)}. "
        f"Allowance for cases that the localizer was not trained on: {_text(extra)}.",
        "",
        "| organ | training cases | field | margin | needed in training, if there were no field | beside the field "
        "| proposed margin | voxels with it | validation held now | with it | field that needs no margin "
        "| voxels with it |",
        "|" + "---|" * 12,
    ]
    for p in proposals(rows, site):
        o = p.organ
        own = [row for row in rows if row.organ == o.key and row.section == "validation"]
        checks = [f"{sum(held(r, m, o.field_mm) for r in own)}/{len(own)}" for m in (o.margin_mm, p.proposed)]
        other = [new / now for new, now in zip(p.field, o.field_mm, strict=True)]
        cells = [o.name, str(p.cases), *map(_text, (o.field_mm, o.margin_mm, p.alone, p.trained, p.proposed))]
        cells += [_percent(p.growth), *checks, _text(p.field), _percent(other)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _text(triple: Triple) -> str:
    return " / ".join(f"{v:g}" for v in triple)


def _percent(factors: Sequence[float]) -> str:
    return " / ".join(f"{round(100 * (f - 1)):+d}%" for f in factors)
