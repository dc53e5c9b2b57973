"""Transforms that MONAI lacks: left-right mirroring, partial labels, and the views of the two stages."""

from oarseg.transforms.box import Box, box_of_mask
from oarseg.transforms.grid import Grid, grid_affine, image_grid, resample
from oarseg.transforms.localizer_view import LocalizerViewd, body_grid
from oarseg.transforms.mirror import Mirror, RandMirrord
from oarseg.transforms.organ_view import OrganViewd
from oarseg.transforms.partial_labels import EncodePartialLabels, EncodePartialLabelsd

__all__ = [
    "Box",
    "EncodePartialLabels",
    "EncodePartialLabelsd",
    "Grid",
    "LocalizerViewd",
    "Mirror",
    "OrganViewd",
    "RandMirrord",
    "body_grid",
    "box_of_mask",
    "grid_affine",
    "image_grid",
    "resample",
]
