"""Transforms that MONAI lacks: left-right mirroring, partial labels, and the views of the two stages."""

from oarseg.transforms.box import Box, box_of_mask
from oarseg.transforms.check_ct import CheckCTd
from oarseg.transforms.grid import Grid, grid_affine, image_grid, resample
from oarseg.transforms.localizer_view import LocalizerViewd, body_grid
from oarseg.transforms.mirror import Mirror, RandMirrord
from oarseg.transforms.organ_view import OrganViewd
from oarseg.transforms.partial_labels import EncodeForMetricsd, EncodePartialLabels, EncodePartialLabelsd
from oarseg.transforms.stage_choice import EncodeDrawnd, RandStaged

__all__ = [
    "Box",
    "EncodeForMetricsd",
    "EncodePartialLabels",
    "EncodePartialLabelsd",
    "CheckCTd",
    "EncodeDrawnd",
    "Grid",
    "LocalizerViewd",
    "Mirror",
    "OrganViewd",
    "RandMirrord",
    "RandStaged",
    "body_grid",
    "box_of_mask",
    "grid_affine",
    "image_grid",
    "resample",
]
