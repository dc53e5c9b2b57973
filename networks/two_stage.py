"""Both stages in one module, so that one state dict holds a whole two-stage bundle."""

from __future__ import annotations

from collections.abc import Mapping
from math import lcm

from torch import Tensor, nn

from oarseg.networks.factor import network_factor
from oarseg.networks.unet3d import UNet3d
from oarseg.sites import Site


class TwoStageNet(nn.Module):
    """A localizer and one network an organ.

    ``forward(image, organ=None)`` runs one of them: the localizer on a stage-1 grid, or the named organ's network on
    its stage-2 grid. What happens between the two is :class:`oarseg.inference.TwoStageInferer`'s matter.
    """

    def __init__(self, localizer: nn.Module, organs: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.localizer = localizer
        self.organs = nn.ModuleDict(dict(organs))

    @classmethod
    def for_site(cls, site: Site) -> TwoStageNet:
        """Return untrained networks with the widths and statistics of a site table."""
        return cls(localizer_net(site), {o.key: UNet3d(2, o.base_width, mean=o.mean, std=o.std) for o in site.organs})

    @property
    def factor(self) -> int:
        """What the sizes of images must be multiples of, whichever part runs."""
        return lcm(*(network_factor(part) for part in (self.localizer, *self.organs.values())))

    def forward(self, image: Tensor, organ: str | None = None) -> Tensor:
        return self.localizer(image) if organ is None else self.organs[organ](image)


def localizer_net(site: Site) -> UNet3d:
    """Return the untrained stage-1 network of a site table: background and all its organs."""
    row = site.localizer
    return UNet3d(len(site.organs) + 1, row.base_width, mean=row.mean, std=row.std)
