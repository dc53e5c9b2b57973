"""Networks and losses of the method. Inputs are (batch, channel, D, H, W): slices, rows, columns."""

from importlib import import_module
from typing import Any

# Imported on first use: AnatomyNet needs MONAI, which takes seconds to import; the 3D U-Net does not.
_PLACES = {
    "AnatomyNet": "anatomynet",
    "DiceLoss": "losses",
    "FocalLoss": "losses",
    "SEResidualBlock": "anatomynet",
    "SharedUNets": "shared",
    "Standardize": "standardize",
    "SumLoss": "losses",
    "TwoStageNet": "two_stage",
    "UNLABELLED": "partial_labels",
    "UNet3d": "unet3d",
    "WeightedCrossEntropyLoss": "losses",
    "marginal_log_probabilities": "partial_labels",
    "unet_widths": "unet3d",
}
__all__ = list(_PLACES)


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
