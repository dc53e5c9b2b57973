"""``metadata.json`` of a bundle (schema 20240725): its template, filled from the site table and the facts."""

from __future__ import annotations

import json
from typing import Any

from oarseg._version import __version__
from oarseg.bundles.facts import facts
from oarseg.bundles.spec import BundleSpec, common


def metadata(spec: BundleSpec, checksum: str | None) -> dict[str, Any]:
    """Return the metadata of one bundle; ``checksum``: the identity of its weights, or None while there are none.

    What they say of the weights themselves is :func:`oarseg.bundles.weights.weights_entry`.
    """
    known, content = facts(spec, checksum), json.loads(common("metadata.json"))
    content["required_packages_version"]["oarseg"] = __version__
    _fill_shapes(content["network_data_format"], spec)
    return content | {
        "name": spec.name,
        "version": __version__,
        "changelog": known.changelog,
        "task": spec.text("task"),
        "description": spec.text("description"),
        "data_source": known.data_source,
        "eval_metrics": eval_metrics(spec, checksum),
        "references": known.references,
    }


def eval_metrics(spec: BundleSpec, checksum: str | None) -> dict[str, float]:
    """Return mean validation Dice by organ, as ``evaluate.json`` reports it; empty before there is an evaluation."""
    scores = facts(spec, checksum).scores.get("stage1" if spec.kind == "localizer" else "two_stage", {})
    return {f"{o.key}_dice": round(scores[o.key].dice, 4) for o in spec.organs if o.key in scores}


def _fill_shapes(data: dict[str, Any], spec: BundleSpec) -> None:
    """Fill in the shapes for ``verify_net_in_out``; the two-stage network's forward pass is the localizer's."""
    image, pred = data["inputs"]["image"], data["outputs"]["pred"]
    result = data["post_processed_outputs"]["pred"]
    shape = list(spec.organ.grid) if spec.organ else ["8*n", "8*n", "8*n"]
    for tensor in (image, pred):
        tensor |= {"spatial_shape": shape, "is_patch_data": spec.kind != "organ"}
    pred["num_channels"] = len(spec.organs) + 1
    result["value_range"] = [0, max(organ.value for organ in spec.site.organs)]
    # By label value, for the network's output too: there MONAI Label reads which values the result will hold, and its
    # clients drop any other. An organ's network has one channel beside the background, whatever its organ's value.
    classes = {"0": "background"} | {str(organ.value): organ.key for organ in spec.organs}
    pred["channel_def"] = result["channel_def"] = classes
