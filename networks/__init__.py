"""Networks and losses of the method. Inputs are (batch, channel, D, H, W): slices, rows, columns."""

from oarseg.lazy import lazy_names

# Imported on first use: the organ table needs no PyTorch.
_MODULES = {
    "DiceLoss": ".losses",
    "FocalLoss": ".losses",
    "PartialLabelLoss": ".losses",
    "Standardize": ".standardize",
    "SumLoss": ".losses",
    "TwoStageNet": ".two_stage",
    "UNLABELLED": ".partial_labels",
    "UNet3d": ".unet3d",
    "WeightedCrossEntropyLoss": ".losses",
    "network_factor": ".factor",
    "marginal_log_probabilities": ".partial_labels",
    "unet_widths": ".unet3d",
}
__all__ = list(_MODULES)
__getattr__ = lazy_names(__name__, _MODULES)
