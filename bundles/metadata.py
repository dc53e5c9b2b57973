"""``metadata.json`` of a bundle (schema 20240725)."""

from __future__ import annotations

from oarseg._version import __version__
from oarseg.bundles.provenance import provenance, stored_scores
from oarseg.bundles.spec import BundleSpec

SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"


def metadata(spec: BundleSpec, checksum: str | None) -> dict:
    """Return the metadata of one bundle; ``checksum``: SHA-256 of its weights, or None while there are none.

    What they say of the weights themselves is :func:`oarseg.bundles.parts.weights_entry`.
    """
    known = provenance(spec, checksum)
    return {
        "schema": SCHEMA,
        "name": spec.name,
        "version": __version__,
        "changelog": dict(known.changelog),
        "monai_version": "1.6.1",
        "pytorch_version": "2.13.0",
        "numpy_version": "2.4.6",
        "required_packages_version": {
            "oarseg": __version__,
            "pytorch-ignite": "0.5.5",
            "nibabel": "5.4.2",
            "pydicom": "3.0.2",
            "scipy": "1.17.1",
            "tensorboard": "2.21.0",
        },
        "supported_apps": {},
        "task": task(spec),
        "description": description(spec),
        "authors": "oarseg contributors",
        "copyright": "Copyright (c) oarseg contributors",
        "data_source": known.data_source,
        "data_type": "nifti or DICOM series",
        "image_classes": "single channel CT in HU",
        "label_classes": "label values of configs/site.json",
        "pred_classes": "label values of configs/site.json",
        "eval_metrics": eval_metrics(spec, checksum),
        "intended_use": "Research only. Not a medical device; not for clinical use.",
        "references": list(known.references),
        "network_data_format": network_data_format(spec),
    }


def task(spec: BundleSpec) -> str:
    """Return what the bundle does, in one line."""
    if spec.kind == "organ":
        return f"Segmentation of the {spec.organ.title} in radiotherapy planning CT"
    if spec.kind == "localizer":
        return f"Localization of {len(spec.site.organs)} organs at risk in {spec.site.title} planning CT"
    return f"Two-stage segmentation of {len(spec.site.organs)} organs at risk in {spec.site.title} planning CT"


def description(spec: BundleSpec) -> str:
    """Return how the bundle does it, in two or three lines."""
    if spec.kind == "organ":
        return (
            f"Stage 2 for the {spec.organ.title}: a 3D U-Net that segments it inside the enlarged box which stage 1 "
            f"({spec.site.prefix}_localizer) puts around it, cut out of the original image."
        )
    if spec.kind == "localizer":
        return "Stage 1: one 3D U-Net at constant spacing that finds all organs at once and gives a box around each."
    return "Stage 1 locates the organs, stage 2 segments each with its own 3D U-Net; all networks in one state dict."


def eval_metrics(spec: BundleSpec, checksum: str | None) -> dict[str, float]:
    """Return mean validation Dice by organ, as ``evaluate.json`` reports it; empty before there is an evaluation."""
    summary = stored_scores(spec, checksum, "stage1" if spec.kind == "localizer" else "two_stage")
    keys = [spec.organ.key] if spec.organ else [o.key for o in spec.site.organs]
    return {f"{key}_dice": round(summary[key].dice, 4) for key in keys if key in summary}


def network_data_format(spec: BundleSpec) -> dict:
    """Return the shapes for ``verify_net_in_out``; the two-stage network's forward pass is the localizer's."""
    organs = [spec.organ] if spec.organ else list(spec.site.organs)
    shape = list(spec.organ.grid) if spec.organ else ["8*n", "8*n", "8*n"]
    shared = {"num_channels": 1, "spatial_shape": shape, "is_patch_data": spec.kind != "organ"}
    values = [o.value for o in spec.site.organs]
    # By label value, for the network's output too: there MONAI Label reads which values the result will hold, and its
    # clients drop any other. An organ's network has one channel beside the background, whatever its organ's value.
    classes = {"0": "background"} | {str(o.value): o.key for o in organs}
    image = {"type": "image", "format": "hounsfield", "modality": "CT", "dtype": "float32", "value_range": [0, 1]}
    return {
        "inputs": {"image": image | shared | {"channel_def": {"0": "image"}}},
        "outputs": {
            "pred": {
                "type": "image",
                "format": "segmentation",
                "dtype": "float32",
                "value_range": [0, 1],
                **shared,
                "num_channels": len(organs) + 1,
                "channel_def": classes,
            }
        },
        "post_processed_outputs": {
            "pred": {
                "type": "image",
                "format": "segmentation",
                "num_channels": 1,
                "spatial_shape": ["*", "*", "*"],
                "dtype": "uint8",
                "value_range": [0, max(values)],
                "channel_def": classes,
            }
        },
    }
