"""From a label map and the list of what it labels to a training target."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Transform

from oarseg.errors import ConfigError
from oarseg.networks.partial_labels import UNLABELLED


class EncodePartialLabels(Transform):
    """One-hot, with the channel of each organ that the case does not label filled with ``UNLABELLED``.

    Args: ``organs``: rows of the site table; channel i + 1 is organ i.
    Input: label map (1, D, H, W). Output: uint8 (1 + organs, D, H, W); channel 0 is "no labelled organ".
    Raises ConfigError where ``labelled`` names an unknown organ.
    """

    def __init__(self, organs: Sequence) -> None:
        self.values = {o.key: o.value for o in organs}

    def __call__(self, label: torch.Tensor, labelled: Sequence[str] | None = None) -> torch.Tensor:
        labelled = list(self.values) if labelled is None else list(labelled)
        unknown = sorted(set(labelled) - set(self.values))
        if unknown:
            raise ConfigError(f"'labelled' names {unknown}; the site table has {sorted(self.values)}")
        label = torch.as_tensor(getattr(label, "array", label))[0].to(torch.uint8)
        out = torch.full((1 + len(self.values), *label.shape), UNLABELLED, dtype=torch.uint8)
        out[0] = 1
        for channel, (key, value) in enumerate(self.values.items(), start=1):
            if key in labelled:
                torch.eq(label, value, out=out[channel].view(torch.bool))
                out[0] -= out[channel]
        return out


class EncodePartialLabelsd(MapTransform):
    """Dictionary form of :class:`EncodePartialLabels`; reads ``data["labelled"]``, and takes all organs without it."""

    def __init__(self, keys: KeysCollection, organs: Sequence, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.encode = EncodePartialLabels(organs)

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> dict:
        out = dict(data)
        for key in self.key_iterator(out):
            out[key] = self.encode(out[key], out.get("labelled"))
        return out


class EncodeForMetricsd(MapTransform):
    """Label maps as one-hot for MONAI's metrics, an organ that the case does not label empty in the reference.

    MONAI's metrics leave out organs without a reference voxel, so an unlabelled organ adds no score.
    """

    def __init__(self, keys: KeysCollection, organs: Sequence, label_key: str = "label") -> None:
        super().__init__(keys)
        self.encode, self.label_key = EncodePartialLabels(organs), label_key

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> dict:
        out = dict(data)
        known = out.get("labelled")
        labelled = None if known is None else [key for key in known if key in self.encode.values]
        for key in self.key_iterator(out):
            encoded = self.encode(out[key], labelled if key == self.label_key else None)
            out[key] = encoded.masked_fill(encoded == UNLABELLED, 0)
        return out
