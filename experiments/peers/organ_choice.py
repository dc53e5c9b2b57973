"""One sample for a network that serves all organs: a case as stage 2 sees one of them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping

import numpy as np
import torch
from monai.transforms import Randomizable

from oarseg.errors import ConfigError


class RandOrgan(Randomizable):
    """Draw one of the organs that a case labels, and show the case as that organ's network sees it.

    Args:
        views: by organ key what makes the organ's sample of a case: :class:`oarseg.transforms.OrganViewd`, alone or in
            a ``Compose`` with what depends on the organ's grid, such as shifts in voxels.
        shares: how often each organ is to be drawn, in any unit, where the case labels all of them; otherwise in
            proportion among those it labels. All alike by default.
    Output: what the drawn view gives, and ``organ``: the organ's key. Raises ConfigError where the shares do not fit
    the views, or a case labels nothing that may be drawn.
    """

    def __init__(self, views: Mapping[str, Callable], shares: Mapping[str, float] | None = None) -> None:
        self.views = dict(views)
        self.shares = dict.fromkeys(self.views, 1.0) if shares is None else {k: float(v) for k, v in shares.items()}
        if set(self.shares) != set(self.views) or not self.views:
            raise ConfigError(f"shares are of {_named(self.shares)}; expected one for each view: {_named(self.views)}")
        if not all(0 <= share < np.inf for share in self.shares.values()):
            raise ConfigError(f"shares must be numbers from 0 on, not {self.shares}")

    def set_random_state(self, seed: int | None = None, state=None) -> RandOrgan:
        super().set_random_state(seed, state)
        for view in self.views.values():
            if isinstance(view, Randomizable):
                view.set_random_state(seed=self.R.randint(2**31))
        return self

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> dict:
        labelled = data.get("labelled", self.views)
        keys = [key for key in self.views if key in labelled and self.shares[key] > 0]
        if not keys:
            raise ConfigError(f"the case labels {_named(labelled)}; drawn are {_named(self.views)}: leave it out")
        shares = np.array([self.shares[key] for key in keys])
        key = keys[self.R.choice(len(keys), p=shares / shares.sum())]
        return {**self.views[key](data), "organ": key}


def _named(keys) -> str:
    return ", ".join(keys) or "nothing"
