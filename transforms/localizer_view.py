"""What stage 1 sees: the body at constant spacing."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform

from oarseg.transforms.body import body_slices
from oarseg.transforms.grid import Grid, grid_affine, image_grid, resample, with_affine


def standard_grid(image: Grid, spacing: Sequence[float]) -> Grid:
    """The grid over the whole of ``image`` at constant spacing (eqs 3-6, 3-7: size_in x spacing_in / spacing_const)."""
    shape = tuple(max(1, int(np.ceil(e / s - 1e-6))) for e, s in zip(image.extent, spacing, strict=True))
    return Grid(image.origin, tuple(float(s) for s in spacing), shape)


def body_grid(volume: torch.Tensor, image: Grid, spacing: Sequence[float]) -> tuple[torch.Tensor, Grid]:
    """``volume`` (1, D, H, W) on ``image``, scaled by eq. 3-2, at ``spacing`` mm and cropped to the body.

    Returns the resampled crop (1, d, h, w) and its grid. However far the scan reaches, nothing is squeezed: a long
    scan gives a long crop.
    """
    whole = standard_grid(image, spacing)
    resampled = resample(volume, image, whole)
    box = body_slices(resampled[0].cpu().numpy())
    crop = whole.crop(tuple(s.start for s in box), tuple(s.stop for s in box))
    return resampled[(slice(None), *box)].contiguous(), crop


class LocalizerViewd(MapTransform):
    """Image and label map at the localizer's spacing, cropped to the body found in the image.

    Args: ``keys``: label maps among them are ``label_keys`` (nearest neighbour); ``image_key`` decides the crop.
    ``spacing``: D, H, W mm. Input (1, D, H, W) MetaTensors in SPL orientation on one grid; output likewise, with the
    affine of the crop.
    """

    def __init__(
        self, keys: KeysCollection, image_key: str, label_keys: Sequence[str], spacing: Sequence[float]
    ) -> None:
        super().__init__(keys)
        self.image_key, self.label_keys, self.spacing = image_key, set(label_keys), tuple(spacing)

    def __call__(self, data: Mapping[Hashable, MetaTensor]) -> dict:
        out = dict(data)
        image = out[self.image_key]
        source = image_grid(image.shape[1:], image.affine)
        crop, target = body_grid(image.as_tensor(), source, self.spacing)
        affine = grid_affine(image.affine, target)
        for key in self.key_iterator(out):
            if key == self.image_key:
                values = crop
            else:
                mode = "nearest" if key in self.label_keys else "linear"
                values = resample(out[key].as_tensor(), source, target, mode)
            out[key] = with_affine(values, torch.as_tensor(affine), out[key])
        return out
