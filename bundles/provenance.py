"""What is known of a bundle's weights: shipped ones were trained here, others elsewhere, or there are none.

Scores and training notes that are stored with oarseg are the head-and-neck site's; another site's organ of the same
name (a brainstem, say) must not be credited with them.
"""

from __future__ import annotations

from dataclasses import dataclass

from oarseg.bundles.shipped_weights import WEIGHTS
from oarseg.bundles.spec import BundleSpec
from oarseg.evaluation.results import Summary, validation_summary
from oarseg.sites import Site

SHIPPED = "head_neck"
UNET = "Cicek et al. 3D U-Net: learning dense volumetric segmentation from sparse annotation. MICCAI 2016."


@dataclass(frozen=True)
class Provenance:
    """Texts of the card and of metadata.json; ``notice`` stands at the card's top where there is something to warn of.

    No text begins with ``$``, ``@`` or ``%``, or holds ``#``: MONAI would take it for an expression.
    """

    change: str
    data_source: str
    data: str
    validation: str
    limits: str
    references: tuple[str, ...] = (UNET,)
    notice: str = ""


HEAD_NECK = Provenance(
    change="first weights, trained on 94 head-and-neck planning CTs",
    data_source="OpenKBP (MIT), eyes and optic nerves of three cases from tcia-ct-scan-dataset (CC BY 4.0)",
    data="""\
Data: 94 head-and-neck planning CTs (OpenKBP), with clinical contours of brainstem, mandible and parotids where they
exist, expert contours of all organs in two of them, and silver eyes and optic nerves (training only) in most others.
See `data_license.txt`.""",
    validation="""\
16 further patients, scored on the original grid against clinical or expert contours only. No network was trained on
them; what was decided after seeing their scores stands under Training. Eyes and optic nerves have a reference in a
single case: take those figures as an indication.""",
    limits="""\
Trained on adults with head-and-neck cancer, CT resampled to 2.7 to 5 mm in-plane; children, post-operative anatomy,
and metal are not covered by the validation. CT only.""",
    references=(
        UNET,
        "Zhu et al. AnatomyNet: deep learning for fast and fully automated whole-volume segmentation of head and neck "
        "anatomy. Med. Phys. 46, 2019.",
        "Babier et al. OpenKBP: the open-access knowledge-based planning grand challenge and dataset. Med. Phys. 48, "
        "2021.",
        "Nikolov et al. Clinically applicable segmentation of head and neck anatomy for radiotherapy. J. Med. Internet "
        "Res. 23, 2021.",
    ),
)


def is_shipped(site: Site) -> bool:
    """Whether weights, training notes and validation results of ``site`` come with oarseg."""
    return site.site == SHIPPED


def is_ours(spec: BundleSpec, checksum: str | None) -> bool:
    """Whether training notes and validation results that come with oarseg are of the weights with this checksum.

    Others of the same bundle were trained elsewhere and must not be credited with them. None: there are no weights.
    """
    return is_shipped(spec.site) and checksum in (None, WEIGHTS.get(spec.name))


def stored_scores(spec: BundleSpec, checksum: str | None, method: str) -> dict[str, Summary]:
    """Stored validation results by organ key; none for weights that are not oarseg's own."""
    return validation_summary(method) if is_ours(spec, checksum) else {}


def provenance(spec: BundleSpec, checksum: str | None) -> Provenance:
    """The texts of a bundle; ``checksum``: of its weights, None where it has none."""
    if is_ours(spec, checksum):
        return HEAD_NECK
    return _trained_elsewhere(spec.site) if checksum else _no_weights(spec.site)


def _no_weights(site: Site) -> Provenance:
    told = f"No weights are shipped for this site: oarseg has no {site.title} data."
    return Provenance(
        change="no weights: only head and neck has them",
        data_source="none yet, as there are no weights",
        data=told,
        validation="There are no weights to score.",
        limits="Nothing is contoured before the networks are trained.",
        notice=f"\n**{told}** `docs/new-site.md` of oarseg says how to train it on your own cases.\n",
    )


def _trained_elsewhere(site: Site) -> Provenance:
    told = site.data or "not told; say it in the field `data` of the site table before passing these weights on"
    return Provenance(
        change="weights that did not come with oarseg",
        data_source=f"Trained on: {told}",
        data=f"Trained on: {told}",
        validation="oarseg stores no validation of weights that others trained; `oarseg evaluate` scores them.",
        limits="Those of the data. CT only.",
        notice="\nThese weights did not come with oarseg.\n",
    )
