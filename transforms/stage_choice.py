"""One sample of two-stage training: a case as one of the nine networks sees it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence

import torch
from monai.config import KeysCollection
from monai.transforms import Compose, MapTransform, Randomizable

from oarseg.errors import ConfigError
from oarseg.transforms.organ_view import OrganViewd


class RandStaged(Randomizable):
    """Draw a network and show it the case: stage 1 half of the time, else one of the organs that the case labels.

    Args: ``localizer``: transforms of stage 1, ending in a fixed size. ``organs``: the views of stage 2.
    Output: what the drawn transforms give, and ``organ``: the drawn organ's key, "" for stage 1.
    """

    def __init__(self, localizer: Sequence, organs: Sequence[OrganViewd]) -> None:
        if not organs:
            raise ConfigError("two-stage training needs at least one organ")
        self.localizer = Compose(list(localizer))
        self.views = {view.organ.key: view for view in organs}

    def set_random_state(self, seed: int | None = None, state=None) -> RandStaged:
        super().set_random_state(seed, state)
        for part in (self.localizer, *self.views.values()):
            part.set_random_state(seed=self.R.randint(2**31))
        return self

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> dict:
        choices = [key for key in data.get("labelled", self.views) if key in self.views]
        if not choices or self.R.rand() < 0.5:
            out = self.localizer(data)
            # MONAI's cropping transforms return a list of samples, here of one.
            return {**(out[0] if isinstance(out, list) else out), "organ": ""}
        key = choices[self.R.randint(len(choices))]
        return {**self.views[key](data), "organ": key}


class EncodeDrawnd(MapTransform):
    """:class:`oarseg.transforms.EncodePartialLabelsd` for what :class:`RandStaged` drew: all organs, or one.

    A view of stage 2 is a mask already: its target is background and organ.
    """

    def __init__(
        self, keys: KeysCollection = (), all_organs: Callable | None = None, key: Hashable | None = None
    ) -> None:
        # Configs of oarseg 0.1 name one label map by key.
        super().__init__(keys if key is None else key)
        if all_organs is None:
            raise ConfigError("EncodeDrawnd needs all_organs, the encoding of stage 1's label maps")
        self.all_organs = all_organs

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> dict:
        if not data["organ"]:
            return self.all_organs(data)
        out = dict(data)
        for key in self.key_iterator(out):
            mask = out[key].as_tensor().to(torch.uint8)
            out[key] = torch.cat([1 - mask, mask])
        return out
