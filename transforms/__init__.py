"""Transforms that MONAI lacks: left-right mirroring, partial labels, and the views of the two stages."""

from importlib import import_module
from typing import Any

# Imported on first use: the geometry needs NumPy alone, the transforms PyTorch and MONAI, which take seconds.
_PLACES = {
    "Box": "box",
    "CheckCTd": "check_ctd",
    "CheckSameGridd": "same_grid",
    "EncodeDrawnd": "stage_choice",
    "EncodeForMetricsd": "partial_labels",
    "EncodePartialLabels": "partial_labels",
    "EncodePartialLabelsd": "partial_labels",
    "Grid": "grid",
    "LoadCTd": "load_ct",
    "LocalizerViewd": "localizer_view",
    "Mirror": "mirror",
    "OrganViewd": "organ_view",
    "RandMirrord": "mirror",
    "RandStaged": "stage_choice",
    "body_grid": "body",
    "box_of_mask": "box",
    "grid_affine": "grid",
    "image_grid": "grid",
    "resample": "grid",
}
__all__ = list(_PLACES)


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
