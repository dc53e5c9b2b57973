"""Facts about a bundle's weights: they came with oarseg, were trained elsewhere, or there are none.

Scores and training notes that are stored with oarseg are the head-and-neck site's; another site's organ of the same
name (a brainstem, say) must not be credited with them.
"""

from __future__ import annotations

from dataclasses import dataclass

from oarseg._version import __version__
from oarseg.bundles.shipped import Score, shipped
from oarseg.bundles.spec import BundleSpec
from oarseg.sites import Site

UNET = "Cicek et al. 3D U-Net: learning dense volumetric segmentation from sparse annotation. MICCAI 2016."


@dataclass(frozen=True)
class Provenance:
    """Texts of the card and of metadata.json; ``notice`` stands at the card's top where there is something to warn of.

    No text begins with ``$``, ``@`` or ``%``, or holds ``#``: MONAI would take it for an expression.
    """

    changelog: dict[str, str]
    data_source: str
    data: str
    validation: str
    limits: str
    references: tuple[str, ...] = (UNET,)
    notice: str = ""


def is_shipped(site: Site) -> bool:
    """Whether weights, training notes and validation results of ``site`` come with oarseg."""
    return site.site == shipped().site


def is_ours(spec: BundleSpec, checksum: str | None) -> bool:
    """Whether training notes and validation results that come with oarseg are of the weights with this checksum.

    Others of the same bundle were trained elsewhere and must not be credited with them. None: there are no weights.
    """
    return is_shipped(spec.site) and checksum in (None, shipped().weights.get(spec.name))


def stored_scores(spec: BundleSpec, checksum: str | None, method: str) -> dict[str, Score]:
    """Return stored validation results by organ key; none for weights that are not oarseg's own."""
    return shipped().scores[method] if is_ours(spec, checksum) else {}


def provenance(spec: BundleSpec, checksum: str | None) -> Provenance:
    """Return the texts of a bundle; ``checksum``: of its weights, None where it has none."""
    if is_ours(spec, checksum):
        return _with_oarseg()
    return _trained_elsewhere(spec.site) if checksum else _no_weights(spec.site)


def _with_oarseg() -> Provenance:
    facts = shipped()
    return Provenance(
        changelog=facts.changelog,
        data_source=facts.data_source,
        data=facts.data,
        validation=facts.validation,
        limits=facts.limits,
        references=facts.references,
    )


def _no_weights(site: Site) -> Provenance:
    reason = f"No weights are shipped for this site: oarseg has no {site.title} data."
    return Provenance(
        changelog={__version__: "no weights: only head and neck has them"},
        data_source="none yet, as there are no weights",
        data=reason,
        validation="There are no weights to score.",
        limits="Nothing is contoured before the networks are trained.",
        notice=f"\n**{reason}** `docs/new-site.md` of oarseg says how to train it on your own cases.\n",
    )


def _trained_elsewhere(site: Site) -> Provenance:
    data = site.data or "not known; state it in the field `data` of the site table before passing these weights on"
    return Provenance(
        changelog={__version__: "weights that did not come with oarseg"},
        data_source=f"Trained on: {data}",
        data=f"Trained on: {data}",
        validation="oarseg stores no validation of weights that others trained; `oarseg evaluate` scores them.",
        limits="Those of the data. CT only.",
        notice="\nThese weights did not come with oarseg.\n",
    )
