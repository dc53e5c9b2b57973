"""Whether an image and its labels have the same voxels at the same places; nothing is resampled to make it so."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform
from monai.utils import ensure_tuple

from oarseg.errors import GeometryError
from oarseg.geometry.affine import GRID_MM, corners_apart


class CheckSameGridd(MapTransform):
    """Ends the run where the labels of a case lie on another grid than its image, instead of training on them.

    Args: ``keys``: the image first, then its label maps.
    Input: MetaTensors (1, i, j, k) turned to the same axes, with the file's name in ``meta["filename_or_obj"]`` where
    there is one. Raises GeometryError.

    >>> CheckSameGridd()({"image": image, "label": label})         # doctest: +SKIP
    """

    def __init__(
        self,
        keys: KeysCollection = ("image", "label"),
        image_key: Hashable | None = None,
        label_key: Hashable | None = None,
    ) -> None:
        # Configs of oarseg 0.1 name the two apart.
        image, *labels = ensure_tuple(keys)
        super().__init__([image_key or image, *([label_key] if label_key else labels)])

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> dict:
        for key in self.keys[1:]:
            self._check(data[self.keys[0]], data[key], str(key))
        return dict(data)

    def _check(self, image: torch.Tensor, label: torch.Tensor, key: str) -> None:
        name = str(getattr(label, "meta", {}).get("filename_or_obj", key)).replace("\\", "/").rsplit("/", 1)[-1]
        if image.shape[1:] != label.shape[1:]:
            raise GeometryError(
                f"{name}: labels of {_size(label.shape[1:])} voxels, but the image has {_size(image.shape[1:])}; "
                "give both on one grid (as oarseg convert does)"
            )
        affines = [np.asarray(one.affine, dtype=float) for one in (image, label)]
        apart = corners_apart(tuple(image.shape[1:]), *affines)
        if not apart <= GRID_MM:  # NaN too
            raise GeometryError(
                f"{name}: the labels lie up to {apart:.2f} mm beside the image (allowed: {GRID_MM:g}); give both on "
                "one grid (as oarseg convert does)"
            )


def _size(shape: Sequence[int]) -> str:
    return " x ".join(str(n) for n in shape)
