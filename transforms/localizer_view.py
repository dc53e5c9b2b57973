"""What stage 1 sees: the body at constant spacing."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform

from oarseg.geometry.box import body_grid
from oarseg.geometry.grid import grid_affine, image_grid
from oarseg.transforms.tensors import resample, with_affine


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
        crop, target = body_grid(image.as_tensor().cpu().numpy(), source, self.spacing)
        affine = grid_affine(image.affine, target)
        for key in self.key_iterator(out):
            if key == self.image_key:
                values = torch.from_numpy(crop).to(image.device)
            else:
                mode = "nearest" if key in self.label_keys else "linear"
                values = resample(out[key].as_tensor(), source, target, mode)
            out[key] = with_affine(values, torch.as_tensor(affine), out[key])
        return out
