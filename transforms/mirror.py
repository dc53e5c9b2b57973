"""Left-right mirroring that keeps labels true."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import nibabel as nib
import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, Randomizable, Transform

from oarseg.errors import GeometryError
from oarseg.sites.table import mirror_pairs


def left_right_axis(affine: np.ndarray | torch.Tensor) -> int:
    """Return the spatial axis (0, 1 or 2) that runs mostly between left and right, for a RAS affine (4, 4)."""
    codes = nib.aff2axcodes(np.asarray(affine, dtype=float))
    for axis, code in enumerate(codes):
        if code in ("L", "R"):
            return axis
    raise GeometryError(f"no axis runs left-right; the affine's axes are {codes}")


class Mirror(Transform):
    """Reflect a patient: flip the left-right axis and, in a label map, exchange the values of paired organs.

    The affine stays: the result is another, mirrored patient at the same place, not the same one seen differently.

    Args: ``pairs``: label values that change places, such as ``[(2, 3), (5, 6)]``; none for an image.
    Input and output (C, ...) with an affine (a MetaTensor); label values below 256.
    """

    def __init__(self, pairs: Sequence[tuple[int, int]] = ()) -> None:
        self.pairs = [(int(a), int(b)) for a, b in pairs]

    def __call__(self, data: MetaTensor) -> MetaTensor:
        affine = getattr(data, "affine", None)
        if affine is None:
            raise GeometryError("mirroring needs an image with an affine, to know which axis is left-right")
        values = torch.flip(data.as_tensor(), dims=[1 + left_right_axis(affine)])
        if self.pairs:
            exchanged = torch.arange(256, dtype=values.dtype)
            for a, b in self.pairs:
                exchanged[a], exchanged[b] = b, a
            values = exchanged[values.long()]
        return MetaTensor(values, meta=dict(data.meta))


class RandMirrord(MapTransform, Randomizable):
    """Mirror image and label map with probability ``prob``, and the names in ``labelled`` with them.

    Example::

        RandMirrord(keys=["image", "label"], label_keys=["label"], organs=site.organs, require="parotid_left")

    Args:
        label_keys: those of ``keys`` that are label maps.
        organs: rows of the site table (``key``, ``value``, ``mirror``).
        require: an organ that must be labelled afterwards. Where only one of the two sides is, that one is shown as
            ``require``; a network for the left parotid so learns from right parotids too, at twice the data.
        prob: of mirroring, where both ways serve.
    """

    def __init__(
        self,
        keys: KeysCollection,
        label_keys: Sequence[str],
        organs: Sequence,
        require: str | None = None,
        prob: float = 0.5,
    ) -> None:
        super().__init__(keys)
        self.twin = {o.key: o.mirror or o.key for o in organs}
        self.image, self.label = Mirror(), Mirror(mirror_pairs(organs))
        self.label_keys = set(label_keys)
        self.require, self.prob = require, prob

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> dict:
        out = dict(data)
        labelled = list(out.get("labelled", self.twin))
        mirror = self.R.rand() < self.prob
        if self.require is not None:
            straight, mirrored = self.require in labelled, self.twin[self.require] in labelled
            mirror = mirror if straight == mirrored else mirrored
        if mirror:
            for key in self.key_iterator(out):
                out[key] = (self.label if key in self.label_keys else self.image)(out[key])
            out["labelled"] = [self.twin.get(name, name) for name in labelled]
        return out
