"""Networks and losses of the method. Inputs are (batch, channel, D, H, W): slices, rows, columns."""

from oarseg.networks.anatomynet import AnatomyNet, SEResidualBlock
from oarseg.networks.losses import DiceLoss, FocalLoss, SumLoss, WeightedCrossEntropyLoss
from oarseg.networks.partial_labels import UNLABELLED, marginal_log_probabilities
from oarseg.networks.standardize import Standardize
from oarseg.networks.two_stage import TwoStageNet
from oarseg.networks.unet3d import UNet3d, unet_widths

__all__ = [
    "UNLABELLED",
    "AnatomyNet",
    "DiceLoss",
    "FocalLoss",
    "SEResidualBlock",
    "Standardize",
    "SumLoss",
    "TwoStageNet",
    "UNet3d",
    "WeightedCrossEntropyLoss",
    "marginal_log_probabilities",
    "unet_widths",
]
