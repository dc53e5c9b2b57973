"""The model card of a bundle (``docs/README.md``) and the licence note of its data."""

from __future__ import annotations

from string import Template

from oarseg._version import __version__
from oarseg.bundles.metadata import description, task
from oarseg.bundles.provenance import is_ours, provenance, stored_scores
from oarseg.bundles.shipped import shipped
from oarseg.bundles.spec import TEMPLATES, BundleSpec
from oarseg.checksum import IDENTITY

PICTURE = "demo.png"


def card(spec: BundleSpec, checksum: str | None) -> str:
    """Return Markdown, filled from the table, the checksum of the weights and the stored validation results."""
    known = provenance(spec, checksum)
    picture = f"\n![Contours of the CT that comes with oarseg]({PICTURE})\n" if has_picture(spec, checksum) else ""
    return Template(_template("card.md")).substitute(
        name=spec.name,
        version=__version__,
        picture=picture,
        labels=_labels(spec),
        segment=_segment(spec, checksum),
        references="\n".join(f"- {reference}" for reference in known.references),
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


def has_picture(spec: BundleSpec, checksum: str | None) -> bool:
    """Whether ``docs/demo.png`` shows what the bundle's weights contour."""
    return is_ours(spec, checksum) and checksum is not None


def data_license(spec: BundleSpec, checksum: str | None) -> str:
    """Return what is known of the data behind the weights, for ``docs/data_license.txt``."""
    return _template("data_license.txt") if is_ours(spec, checksum) else provenance(spec, checksum).data + "\n"


def _template(name: str) -> str:
    return (TEMPLATES / "common" / name).read_text(encoding="utf-8")


def _labels(spec: BundleSpec) -> str:
    organs = [spec.organ] if spec.organ else list(spec.site.organs)
    rows = [f"| {organ.value} | {organ.name} | {organ.title} |" for organ in organs]
    return "\n".join(["| value | name (TG-263) | organ |", "|---|---|---|", "| 0 | | background |", *rows])


def _segment(spec: BundleSpec, checksum: str | None) -> str:
    organs = f" --organs {spec.organ.key}" if spec.organ else ""
    bundle = "" if is_ours(spec, checksum) else f" --bundle {spec.site.prefix}_two_stage"
    note = "        # all of it: DICOM in, RTSTRUCT out" if not organs + bundle else ""
    return f"oarseg segment CT -o OUT{organs}{bundle}{note}"


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
    if spec.kind == "two_stage":
        return (
            "Those of the other bundles, half precision. A packed bundle has them in one file, `models/model.pt`; "
            "where that is missing, they are read from the bundles beside this one. "
            f"`{IDENTITY}`: `{checksum}`.{licence}"
        )
    return f"`models/model.pt`: state dict of tensors, half precision, SHA-256 `{checksum}`.{licence}"


def _evaluation(spec: BundleSpec, checksum: str | None) -> str:
    if not is_ours(spec, checksum):
        return "No validation results are stored."
    source = "Case by case in `experiments/results` of oarseg's repository; made by `python -m experiments.scores.run`."
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
    cases = f"{b.cases} case{'s' * (b.cases > 1)}"
    return (
        f"Dice {b.text}{interval} over {cases}, lowest {b.lowest:.3f}, not found in {b.missed}{hd95}; "
        f"stage 1 alone: {a.dice:.3f}."
    )


def _needs(spec: BundleSpec) -> str:
    if spec.kind == "organ":
        return "The localizer's bundle must lie beside this one (or give `--localizer_root`): it puts the box."
    if spec.kind == "two_stage":
        return "Without `models/model.pt`, the other bundles must lie beside this one."
    return "Nothing else is needed beside this folder."
