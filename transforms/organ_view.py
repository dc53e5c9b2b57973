"""What stage 2 sees: the box around one organ, cut out of the original image and brought to the organ's grid."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, Randomizable

from oarseg.errors import ConfigError, InputError
from oarseg.geometry.box import Box, box_of_mask
from oarseg.geometry.grid import grid_affine, image_grid
from oarseg.sites import Organ
from oarseg.transforms.tensors import resample, with_affine


class OrganViewd(MapTransform, Randomizable):
    """Crop image and label around the reference label of one organ, for training and validation of stage 2.

    The box of the reference label is enlarged exactly as stage 1's box is at inference. Where the box leaves the image,
    the crop is padded with air. The label becomes a mask: interpolated and cut at one half, so that a coarse label map
    does not leave its stairs on a fine grid.

    Args:
        keys: the images, with or without ``label_key``; the label map is cropped in any case.
        label_key: the label map that has the organ.
        organ: row of the site table.
        jitter_mm: in training, each face of the box moves by up to so much before it is enlarged, since stage 1's boxes
            are not the reference's. 0 in validation.
    Input: (1, D, H, W) MetaTensors in SPL orientation. Output: ``(1, *organ.grid)``, the label as values 0 and 1,
    and ``labelled`` naming this organ alone. Raises ConfigError without an image or organ, InputError where the label
    map lacks the organ.
    """

    def __init__(
        self,
        keys: KeysCollection = (),
        label_key: Hashable = "label",
        organ: Organ | None = None,
        jitter_mm: float = 0.0,
        image_key: Hashable | None = None,
    ) -> None:
        # Configs of oarseg 0.1 name one image by image_key.
        super().__init__(keys if image_key is None else image_key)
        self.image_keys, self.label_key = [key for key in self.keys if key != label_key], label_key
        if organ is None or not self.image_keys:
            raise ConfigError(f"OrganViewd needs an image beside {label_key!r} in keys, and an organ")
        self.organ, self.jitter_mm = organ, float(jitter_mm)

    def __call__(self, data: Mapping[Hashable, MetaTensor]) -> dict:
        out = dict(data)
        image, label = out[self.image_keys[0]], out[self.label_key]
        source = image_grid(image.shape[1:], image.affine)
        mask = label.as_tensor() == self.organ.value
        box = box_of_mask(mask[0].numpy(), source)
        if box is None:
            name = label.meta.get("filename_or_obj", "the label map")
            raise InputError(f"{name}: listed as labelling {self.organ.key}, but no voxel is {self.organ.value}")
        if self.jitter_mm:
            box = box.jittered(self.jitter_mm, self.R)
        target = self._enlarge(box).grid(self.organ.grid)
        affine = torch.as_tensor(grid_affine(image.affine, target))
        inside = (resample(mask, source, target) >= 0.5).to(torch.uint8)
        for key in self.image_keys:
            out[key] = with_affine(resample(out[key].as_tensor(), source, target), affine, out[key])
        out[self.label_key] = with_affine(inside, affine, label)
        out["labelled"] = [self.organ.key]
        return out

    def _enlarge(self, box: Box) -> Box:
        return box.enlarged(self.organ.margin_mm, self.organ.field_mm)
