"""The check of a CT as a MONAI transform."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Mapping

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform

from oarseg.errors import InputError
from oarseg.geometry.affine import OBLIQUE_DEGREES, obliqueness
from oarseg.geometry.check_ct import check_ct


class CheckCTd(MapTransform):
    """``check_ct`` as a MONAI transform: passes the image on unchanged, or ends the run before it costs anything.

    Input: MetaTensors (1, i, j, k) in HU, with the file's name in ``meta["filename_or_obj"]`` where there is one.
    What is merely unusual becomes a ``UserWarning``, an oblique CT among it: the bundles that run by MONAI alone take
    it along its own axes. Raises InputError or GeometryError.

    >>> CheckCTd(keys="image")({"image": image})                   # doctest: +SKIP
    """

    def __init__(self, keys: KeysCollection, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> dict:
        for key in self.key_iterator(dict(data)):
            image = data[key]
            name = str(getattr(image, "meta", {}).get("filename_or_obj", key)).replace("\\", "/").rsplit("/", 1)[-1]
            if image.ndim > 3 and image.shape[0] != 1:
                raise InputError(f"{name}: {image.shape[0]} channels, expected one; give a single CT volume")
            affine = getattr(image, "affine", None)
            volume = image.as_tensor() if hasattr(image, "as_tensor") else torch.as_tensor(image)
            volume = (volume[0] if volume.ndim > 3 else volume).cpu()
            matrix = np.eye(4) if affine is None else np.asarray(affine.cpu(), dtype=float)
            messages = check_ct(volume, matrix, name)
            if (degrees := obliqueness(matrix)) > OBLIQUE_DEGREES:
                messages.append(
                    f"{name}: the voxel axes lie {degrees:.0f} degrees oblique to the patient's, and the CT is not "
                    "resampled onto them here; organs are contoured poorly, oarseg segment does better"
                )
            for message in messages:
                warnings.warn(message, UserWarning, stacklevel=2)
        return dict(data)
