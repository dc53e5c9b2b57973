"""Which contour of an organ of the table becomes its silver label: the network's, the former one, or none.

The network's is taken where it passes the filter; the former one stays where only it passes. Where both pass and lie
apart, nobody can say who is right, and no label trains better than a wrong one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from experiments.silver import filter as check
from experiments.silver.filter import EYE, NERVE, Scan
from oarseg.datasets.silver_list import NETWORK
from oarseg.inference.localize import largest_piece
from oarseg.inference.report.content import Measure, measure
from oarseg.sites import Organ, Site

OWN, ACCEPTED, KEPT, DROPPED = "own", "accepted", "kept", "dropped"
# A silver organ of which the case's own organs leave less than this is no longer that organ.
LEAST_LEFT = 0.5


@dataclass(frozen=True)
class Opinions:
    """All label maps of one case, (i, j, k) uint8, and which organs they show.

    ``own``: the case's own labels of the organs ``labelled``. ``former``: earlier silver labels, ``origins`` by organ.
    ``stage1`` and ``stage2``: the network's.
    """

    scan: Scan
    own: np.ndarray
    labelled: Sequence[str]
    former: np.ndarray
    origins: Mapping[str, str]
    stage1: np.ndarray
    stage2: np.ndarray


@dataclass(frozen=True)
class Verdict:
    """The decision on one organ of one case.

    ``outcome``: own, accepted (the network's), kept (the former) or dropped. ``reason``: why the network's contour was
    not taken. ``former_reason``: why the former one was not. ``stages_dice``: of stage 1 and stage 2. ``former_dice``
    and ``former_mm``: overlap and distance of the network's contour and the former one. None where there is no such.
    """

    organ: str
    outcome: str
    reason: str | None = None
    former_reason: str | None = None
    stages_dice: float | None = None
    former_dice: float | None = None
    former_mm: float | None = None


@dataclass
class _Drawn:
    """One opinion's label map with its measures, and what is wrong with each organ in it (None: nothing)."""

    label: np.ndarray
    measures: dict[str, Measure]
    flaws: dict[str, str | None] = field(default_factory=dict)


def choose(opinions: Opinions, site: Site, chosen: Sequence[str]) -> tuple[np.ndarray, dict[str, str], list[Verdict]]:
    """Return the label map to train on, who drew each silver organ in it, and a verdict for each of ``chosen`` organs.

    Former silver labels of other organs stay as they are.
    """
    own = _only(opinions.own, opinions.labelled, site)
    before = _only(opinions.former, list(opinions.origins), site)
    network, former = (_drawn(label, own, opinions, site) for label in (opinions.stage2, before))
    final = _Drawn(own.copy(), measure(own, opinions.scan.affine, site))
    origins: dict[str, str] = {}
    verdicts = []
    # Eyes first: a nerve is judged by the eye that it will stand beside.
    for organ in sorted(site.organs, key=lambda o: o.key.startswith(NERVE)):
        if organ.key in opinions.labelled:
            verdicts += [Verdict(organ.key, OWN)] if organ.key in chosen else []
            continue
        verdict = _judge(organ, network, former, final, opinions, site)
        if organ.key not in chosen:
            verdict = Verdict(organ.key, KEPT if organ.key in opinions.origins else DROPPED)
        source = {ACCEPTED: network, KEPT: former}.get(verdict.outcome)
        if source and not _paint(organ, source, final, whole=source is former):
            verdict = Verdict(organ.key, DROPPED, "covered by other organs")
        elif source:
            origins[organ.key] = NETWORK if source is network else opinions.origins[organ.key]
        verdicts += [verdict] if organ.key in chosen else []
    return final.label, origins, verdicts


def _only(label: np.ndarray, keys: Sequence[str], site: Site) -> np.ndarray:
    return np.where(np.isin(label, [site.organ(key).value for key in keys]), label, 0).astype(np.uint8)


def _drawn(label: np.ndarray, own: np.ndarray, opinions: Opinions, site: Site) -> _Drawn:
    """An opinion beside the case's own organs, with what is wrong with each organ alone and with the eyes as a pair."""
    silver = [o.key for o in site.organs if o.key not in opinions.labelled]
    label = np.where(own > 0, own, _only(label, silver, site))
    drawn = _Drawn(label, measure(label, opinions.scan.affine, site))
    for organ in site.organs:
        own_one = organ.key in opinions.labelled
        found = drawn.measures.get(organ.key)
        drawn.flaws[organ.key] = None if own_one else check.alone(label, organ, found)
    for organ in site.organs:
        if organ.mirror and organ.key.endswith("left"):
            pair = [organ.key, organ.mirror]
            if all(key in drawn.measures and drawn.flaws[key] is None for key in pair):
                judge = check.eyes_apart if organ.key.startswith(EYE) else check.exchanged
                flaw = judge(*(drawn.measures[key] for key in pair))
                drawn.flaws.update({key: flaw for key in pair if key not in opinions.labelled})
    return drawn


def _judge(organ: Organ, network: _Drawn, former: _Drawn, final: _Drawn, opinions: Opinions, site: Site) -> Verdict:
    flaws = [_flaw(organ, drawn, final, opinions, site) for drawn in (network, former)]
    ours, theirs = network.measures.get(organ.key), former.measures.get(organ.key)
    mask, stages, overlap, distance = network.label == organ.value, None, None, None
    if ours:
        stages = dice(opinions.stage1 == organ.value, mask)
        least = check.STAGES_AGREE.get(organ.key[: len(NERVE)], check.STAGES_AGREE_ELSE)
        flaws[0] = flaws[0] or ("stages disagree" if stages < least else None)
        flaws[0] = flaws[0] or check.unsure(mask, opinions.scan, organ, ours)
    if ours and theirs:
        overlap, distance = dice(mask, former.label == organ.value), check.distance_mm(ours, theirs)
        if flaws == [None, None] and distance > check.AGREE_MM:
            flaws = ["far from the former", "far from the network's"]
        elif flaws == [None, None] and ours.volume_cm3 < check.LEAST_OF_FORMER * theirs.volume_cm3:
            flaws[0] = "smaller than the former"
    outcome = ACCEPTED if flaws[0] is None else KEPT if flaws[1] is None else DROPPED
    return Verdict(organ.key, outcome, flaws[0], flaws[1] if theirs else None, stages, overlap, distance)


def _flaw(organ: Organ, drawn: _Drawn, final: _Drawn, opinions: Opinions, site: Site) -> str | None:
    """What is wrong with an organ of an opinion, seen beside what is chosen so far."""
    if drawn.flaws[organ.key] or not organ.key.startswith(NERVE):
        return drawn.flaws[organ.key]
    side = organ.key.removeprefix(NERVE)
    eyes = {o.key.removeprefix(EYE): o for o in site.organs if o.key.startswith(EYE)}
    found = {name: final.measures[o.key] for name, o in eyes.items() if o.key in final.measures}
    if side not in found:
        return "no eye to go by"
    other = next((m for name, m in found.items() if name != side), None)
    gap = check.gap_mm(drawn.label == organ.value, final.label == eyes[side].value, opinions.scan.affine)
    return check.nerve_place(drawn.measures[organ.key], found[side], other, gap, 1.0 if side == "left" else -1.0)


def _paint(organ: Organ, source: _Drawn, final: _Drawn, whole: bool) -> bool:
    """Paint an organ, or its largest piece, where nothing is yet; False where too little of it would be left."""
    mask = source.label == organ.value
    mask = mask if whole else largest_piece(mask) > 0
    free = mask & (final.label == 0)
    if not mask.any() or free.sum() < LEAST_LEFT * mask.sum():
        return False
    final.label[free] = organ.value
    final.measures[organ.key] = source.measures[organ.key]
    return True


def dice(a: np.ndarray, b: np.ndarray) -> float:
    """Dice of two masks; 1 where both are empty."""
    total = int(a.sum()) + int(b.sum())
    return 2 * int((a & b).sum()) / total if total else 1.0
