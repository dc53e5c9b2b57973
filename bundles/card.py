"""The model card of a bundle (``docs/README.md``) and the licence note of its data."""

from __future__ import annotations

from string import Template

from oarseg._version import __version__
from oarseg.bundles.facts import facts, is_ours, shipped
from oarseg.bundles.spec import BundleSpec, common

PICTURE = "demo.png"


def card(spec: BundleSpec, checksum: str | None) -> str:
    """Return Markdown, filled from the table, the checksum of the weights and the stored validation results."""
    known = facts(spec, checksum)
    picture = f"\n![Contours of the CT that comes with oarseg]({PICTURE})\n" if has_picture(spec, checksum) else ""
    return Template(common("card.md")).substitute(
        name=spec.name,
        version=__version__,
        picture=picture,
        labels="\n".join(f"| {organ.value} | {organ.name} | {organ.title} |" for organ in spec.organs),
        segment=_segment(spec, checksum),
        references="\n".join(f"- {reference}" for reference in known.references),
        task=spec.text("task"),
        description=spec.text("description"),
        network=spec.text("network"),
        notice=known.notice,
        training=known.training.get(spec.organ.key if spec.organ else spec.kind, known.training["otherwise"]),
        data=known.data,
        validation=known.validation,
        evaluation=_evaluation(spec, checksum),
        limits=known.limits,
        needs=spec.text("needs"),
        weights=_weights(spec, checksum),
    )


def has_picture(spec: BundleSpec, checksum: str | None) -> bool:
    """Whether ``docs/demo.png`` shows what the bundle's weights contour."""
    return is_ours(spec, checksum) and checksum is not None


def data_license(spec: BundleSpec, checksum: str | None) -> str:
    """Return what is known of the data behind the weights, for ``docs/data_license.txt``."""
    return common("data_license.txt") if is_ours(spec, checksum) else facts(spec, checksum).data + "\n"


def _segment(spec: BundleSpec, checksum: str | None) -> str:
    organs = f" --organs {spec.organ.key}" if spec.organ else ""
    bundle = "" if is_ours(spec, checksum) else f" --bundle {spec.site.prefix}_two_stage"
    note = "        # all of it: DICOM in, RTSTRUCT out" if not organs + bundle else ""
    return f"oarseg segment CT -o OUT{organs}{bundle}{note}"


def _weights(spec: BundleSpec, checksum: str | None) -> str:
    if not checksum:
        return "There are none yet; `oarseg bundles weights` puts trained ones into `models/model.pt`."
    licence = " Apache License 2.0." if is_ours(spec, checksum) else ""
    return spec.text("weights", checksum=checksum) + licence


def _evaluation(spec: BundleSpec, checksum: str | None) -> str:
    if not is_ours(spec, checksum):
        return "No validation results are stored."
    source = "Case by case in `experiments/results` of oarseg's repository; made by `python -m experiments.scores.run`."
    return f"{_scores(spec.organ.key) if spec.organ else shipped().results_table}\n\n{source}"


def _scores(organ_key: str) -> str:
    one, two = (shipped().scores[method].get(organ_key) for method in ("stage1", "two_stage"))
    if one is None or two is None:
        return "No validation results are stored yet."
    interval = f" (95 % interval {two.low:.3f} to {two.high:.3f})" if two.low is not None else ""
    hd95 = f", HD95 {two.hd95_mm:.1f} mm" if two.hd95_mm is not None else ""
    cases = f"{two.cases} case{'s' * (two.cases > 1)}"
    return (
        f"Dice {two.text}{interval} over {cases}, lowest {two.lowest:.3f}, not found in {two.missed}{hd95}; "
        f"stage 1 alone: {one.dice:.3f}."
    )
