"""Facts about a bundle's weights: they came with oarseg, were trained elsewhere, or there are none.

``shipped.json`` has those of the weights that come with oarseg. ``python -m experiments.scores.facts`` writes its
scores and its table from the stored rows; the rest is edited by hand when weights change. They are of one site: another
site's organ of the same name (a brainstem, say) must not be credited with them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from string import Template
from typing import Any

from oarseg._version import __version__
from oarseg.bundles.spec import BundleSpec, common
from oarseg.sites import Site

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
class Facts:
    """What the card and ``metadata.json`` say of weights.

    ``training``: by organ key, "localizer" or "two_stage"; "otherwise" for those without a note. ``notice`` stands at
    the card's top where there is something to warn of. Only of the shipped weights: ``site``; ``weights``, the identity
    of each bundle's; ``scores``, by method ("stage1", "two_stage") and organ key; ``results_table``, Markdown.
    No text begins with ``$``, ``@`` or ``%``, or holds ``#``: MONAI would take it for an expression.
    """

    changelog: dict[str, str]
    data_source: str
    data: str
    validation: str
    limits: str
    references: list[str]
    training: dict[str, str]
    notice: str = ""
    site: str = ""
    weights: dict[str, str] = field(default_factory=dict)
    scores: dict[str, dict[str, Score]] = field(default_factory=dict)
    results_table: str = ""


@cache
def shipped() -> Facts:
    """Return the facts about the weights that come with oarseg."""
    content: dict[str, Any] = json.loads(FACTS.read_text(encoding="utf-8"))
    scores = {
        method: {organ: Score(**row) for organ, row in rows.items()} for method, rows in content["scores"].items()
    }
    return Facts(**content | {"scores": scores, "results_table": "\n".join(content["results_table"])})


def facts(spec: BundleSpec, checksum: str | None) -> Facts:
    """Return the facts about a bundle's weights; ``checksum``: their identity, None where there are none."""
    if is_ours(spec, checksum):
        return shipped()
    data = spec.site.data or "not known; state it in the field `data` of the site table before passing these weights on"
    texts = json.loads(common("other_weights.json"))["trained_elsewhere" if checksum else "no_weights"]
    return Facts(**_filled(texts, {"site": spec.site.title, "data": data, "version": __version__}))


def is_shipped(site: Site) -> bool:
    """Whether weights, training notes and validation results of ``site`` come with oarseg."""
    return site.site == shipped().site


def is_ours(spec: BundleSpec, checksum: str | None) -> bool:
    """Whether training notes and validation results that come with oarseg are of the weights with this checksum.

    Others of the same bundle were trained elsewhere and must not be credited with them. None: there are no weights.
    """
    return is_shipped(spec.site) and checksum in (None, shipped().weights.get(spec.name))


def _filled(texts: Any, values: dict[str, str]) -> Any:
    if isinstance(texts, dict):
        return {_filled(key, values): _filled(text, values) for key, text in texts.items()}
    return [_filled(text, values) for text in texts] if isinstance(texts, list) else Template(texts).substitute(values)
