"""Transforms that MONAI lacks: left-right mirroring, partial labels, and the views of the two stages."""

from oarseg.lazy import lazy_names

# Imported on first use: the geometry needs NumPy alone, the transforms PyTorch and MONAI, which take seconds.
_MODULES = {
    "Box": "oarseg.geometry.box",
    "CheckCTd": ".check_ctd",
    "CheckSameGridd": ".same_grid",
    "EncodeDrawnd": ".stage_choice",
    "EncodeForMetricsd": ".partial_labels",
    "EncodePartialLabels": ".partial_labels",
    "EncodePartialLabelsd": ".partial_labels",
    "Grid": "oarseg.geometry.grid",
    "LoadCTd": ".load_ct",
    "LocalizerViewd": ".localizer_view",
    "Mirror": ".mirror",
    "OrganViewd": ".organ_view",
    "RandMirrord": ".mirror",
    "RandStaged": ".stage_choice",
    "body_grid": "oarseg.geometry.box",
    "box_of_mask": "oarseg.geometry.box",
    "grid_affine": "oarseg.geometry.grid",
    "image_grid": "oarseg.geometry.grid",
    "resample": ".tensors",
}
__all__ = list(_MODULES)
__getattr__ = lazy_names(__name__, _MODULES)
