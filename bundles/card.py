"""The model card of a bundle (``docs/README.md``) and the licence note of its data."""

from __future__ import annotations

from string import Template

from oarseg.bundles.metadata import description, task
from oarseg.bundles.provenance import is_ours, provenance, stored_scores
from oarseg.bundles.shipped import shipped
from oarseg.bundles.spec import TEMPLATES, BundleSpec


def card(spec: BundleSpec, checksum: str | None) -> str:
    """Markdown, filled from the table, the weights' checksum and the stored validation results."""
    known = provenance(spec, checksum)
    return Template(_template("card.md")).substitute(
        name=spec.name,
        task=task(spec),
        description=description(spec),
        network=_network(spec),
        notice=known.notice,
        training=_training(spec, checksum),
        data=known.data,
        validation=known.validation,
        evaluation=_evaluation(spec, checksum),
        limits=known.limits,
        needs=_needs(spec),
        weights=_weights(spec, checksum),
    )


def data_license(spec: BundleSpec, checksum: str | None) -> str:
    """What is known of the data behind the weights, for ``docs/data_license.txt``."""
    return _template("data_license.txt") if is_ours(spec, checksum) else provenance(spec, checksum).data + "\n"


def _template(name: str) -> str:
    return (TEMPLATES / "common" / name).read_text(encoding="utf-8")


def _network(spec: BundleSpec) -> str:
    row = spec.site.localizer
    stage1 = (
        f"3D U-Net, 3 poolings, base width {row.base_width}, {len(spec.site.organs) + 1} classes, at "
        f"{row.spacing_mm[0]:g} x {row.spacing_mm[1]:g} x {row.spacing_mm[2]:g} mm (slices x rows x columns)."
    )
    if spec.kind == "localizer":
        return stage1
    if spec.organ:
        organ = spec.organ
        return (
            f"3D U-Net, 3 poolings, base width {organ.base_width}, 2 classes, on a grid of "
            f"{' x '.join(str(n) for n in organ.grid)} voxels over at least "
            f"{' x '.join(f'{n:g}' for n in organ.field_mm)} mm (slices x rows x columns)."
        )
    widths = ", ".join(f"{o.key} {o.base_width}" for o in spec.site.organs)
    return f"Stage 1: {stage1} Stage 2: a 3D U-Net an organ, base widths: {widths}."


def _training(spec: BundleSpec, checksum: str | None) -> str:
    if not is_ours(spec, checksum):
        return "See Data." if checksum else "Not trained."
    if spec.kind == "two_stage":
        return "The nine networks of the localizer's and the organs' bundles, put together unchanged; see their cards."
    return shipped().training.get(spec.organ.key if spec.organ else "localizer", "Not trained yet.")


def _weights(spec: BundleSpec, checksum: str | None) -> str:
    if not checksum:
        return "There are none yet; `oarseg bundles weights` puts trained ones into `models/model.pt`."
    licence = " Apache License 2.0." if is_ours(spec, checksum) else ""
    return f"`models/model.pt`: state dict of tensors, half precision, SHA-256 `{checksum}`.{licence}"


def _evaluation(spec: BundleSpec, checksum: str | None) -> str:
    if not is_ours(spec, checksum):
        return "No validation results are stored."
    source = "The figures come from `python -m experiments.scores.run`, case by case in `experiments/results`."
    return f"{_scores(spec, checksum)}\n\n{source}"


def _scores(spec: BundleSpec, checksum: str | None) -> str:
    if spec.organ is None:
        return shipped().results_table
    one, two = (stored_scores(spec, checksum, method) for method in ("stage1", "two_stage"))
    key = spec.organ.key
    if key not in two:
        return "No validation results are stored yet."
    a, b = one[key], two[key]
    interval = f" (95 % interval {b.low:.3f} to {b.high:.3f})" if b.low is not None else ""
    hd95 = f", HD95 {b.hd95_mm:.1f} mm" if b.hd95_mm is not None else ""
    return (
        f"Dice {b.text}{interval} over {b.cases} case(s), lowest {b.lowest:.3f}, not found in {b.missed}{hd95}; "
        f"stage 1 alone: {a.dice:.3f}."
    )


def _needs(spec: BundleSpec) -> str:
    if spec.kind == "organ":
        return "The localizer's bundle must lie beside this one (or give `--localizer_root`): it puts the box."
    return "Nothing beside this folder."
