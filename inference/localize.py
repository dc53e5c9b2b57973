"""Stage 1: where each organ is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monai.inferers import Inferer
from monai.utils import convert_to_dst_type
from scipy import ndimage
from torch import Tensor, nn

from oarseg.inference.canvas import Canvas
from oarseg.inference.windows import WindowInferer
from oarseg.sites import Organ, Site
from oarseg.transforms import Box, Grid, body_grid, box_of_mask, image_grid

# A piece smaller than this share of the organ's least plausible volume is noise, not the organ.
LEAST_SHARE = 0.1


@dataclass(frozen=True)
class Located:
    """An organ as stage 1 sees it: ``probability`` (d, h, w) on ``grid``, zero beyond its largest piece; ``box``."""

    organ: Organ
    probability: Tensor
    grid: Grid
    box: Box


def locate(image: Tensor, grid: Grid, network: nn.Module, site: Site) -> dict[str, Located]:
    """Run the localizer over an image of any field of view; organs that it does not find are absent from the result.

    Args: ``image`` (1, D, H, W) in SPL orientation, scaled by eq. 3-2, on ``grid``.
    """
    body, body_on = body_grid(image, grid, site.localizer.spacing_mm)
    logits = WindowInferer(site.localizer.window)(body[None], network)[0]
    winner = logits.argmax(dim=0).cpu().numpy()
    voxel_cm3 = float(np.prod(body_on.spacing)) / 1000
    found = {}
    for organ in site.organs:
        mask = largest_piece(winner == organ.value)
        box = box_of_mask(mask, body_on)
        if box is None or mask.sum() * voxel_cm3 < LEAST_SHARE * organ.volume_cm3[0]:
            continue
        found[organ.key] = _located(organ, logits, mask, body_on, box)
    return found


def _located(organ: Organ, logits: Tensor, mask: np.ndarray, grid: Grid, box: Box) -> Located:
    around = tuple(
        slice(max(0, s.start - 2), min(n, s.stop + 2))
        for s, n in zip(ndimage.find_objects(mask)[0], mask.shape, strict=True)
    )
    # Against the background alone: a voxel on the border of two organs belongs to the likelier one, not to neither.
    probability = torch.sigmoid(logits[organ.value][around] - logits[0][around])
    probability = keep_piece(probability, mask[around])
    crop = grid.crop(tuple(s.start for s in around), tuple(s.stop for s in around))
    return Located(organ, probability, crop, box)


def largest_piece(mask: np.ndarray) -> np.ndarray:
    """The largest 26-connected piece of a mask, as int8 (D, H, W)."""
    labels, count = ndimage.label(mask, structure=np.ones((3, 3, 3)))
    if count < 2:
        return (labels > 0).astype(np.int8)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return (labels == sizes.argmax()).astype(np.int8)


def keep_piece(probability: Tensor, piece: np.ndarray) -> Tensor:
    """``probability`` with all but ``piece`` and its neighbours zero, so that the 0.5 level keeps its shape."""
    near = ndimage.binary_dilation(piece > 0, structure=np.ones((3, 3, 3)))
    return probability * torch.as_tensor(near, device=probability.device)


class LocalizerInferer(Inferer):
    """Stage 1 alone, mapped back to the original grid.

    Input (1, 1, D, H, W) in SPL orientation with an affine (a MetaTensor), scaled by eq. 3-2. Output uint8 of the same
    shape: label values of the site table.
    """

    def __init__(self, site: Site) -> None:
        self.site = site

    def __call__(self, inputs: Tensor, network: nn.Module, *args: Any, **kwargs: Any) -> Tensor:
        canvas = Canvas(image_grid(inputs.shape[2:], inputs.affine.reshape(-1, 4, 4)[0].cpu()), inputs.device)
        for located in locate(inputs.as_tensor()[0], canvas.grid, network, self.site).values():
            canvas.paint(located.organ.value, located.probability, located.grid)
        # With the image's meta data: Invertd and SaveImaged find their way back by it.
        return convert_to_dst_type(canvas.label[None, None], inputs, dtype=torch.uint8)[0]
