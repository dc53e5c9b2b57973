"""The 3D U-Net of the method (Cicek et al., MICCAI 2016, with the widths of the thesis' tables 3-3 and 4-1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from oarseg.networks.standardize import Standardize

Widths = Mapping[str, Sequence]


def unet_widths(base_width: int = 24, poolings: int = 3) -> dict[str, list]:
    """Return the channels of every convolution of an unpruned network.

    Returns ``encoder``: a pair for each level, top first; ``up``: of each transposed convolution, bottom first;
    ``decoder``: a pair for each up level, bottom first. A pruned network is the same dictionary with smaller numbers.
    """
    levels = [base_width * 2**level for level in range(poolings + 1)]
    return {
        "encoder": [[w, w] for w in levels],
        "up": levels[-2::-1],
        "decoder": [[w, w] for w in levels[-2::-1]],
    }


class UNet3d(nn.Module):
    """Two 3x3x3 convolutions a level, max pooling, dropout at the bottom, transposed convolutions, skips.

    Args:
        out_channels: classes, background included.
        base_width: channels of the first level; each pooling doubles them. Ignored where ``widths`` is given.
        poolings: how many times the volume is halved.
        widths: channels of every convolution (see :func:`unet_widths`), to rebuild a pruned network.
        dropout: probability after the bottom level.
        mean, std: of the training intensities (eqs 3-3, 3-4). The network normalises its input itself (eq. 3-5), so
            that callers need not know them, and so that what is padded around a volume stays air. Weights bring their
            own, see :class:`oarseg.networks.Standardize`.
        in_channels: of the image.

    Input (B, in_channels, D, H, W), intensities scaled to [0, 1] by eq. 3-2; each of D, H, W a multiple of
    ``2 ** poolings``. Output (B, out_channels, D, H, W): logits. Raises ValueError on other sizes.
    """

    def __init__(
        self,
        out_channels: int,
        base_width: int = 24,
        poolings: int = 3,
        widths: Widths | None = None,
        dropout: float = 0.1,
        mean: float = 0.0,
        std: float = 1.0,
        in_channels: int = 1,
    ) -> None:
        super().__init__()
        widths = unet_widths(base_width, poolings) if widths is None else widths
        _check_widths(widths)
        encoder, up, decoder = widths["encoder"], widths["up"], widths["decoder"]
        self.factor = 2 ** len(up)
        self.standardize = Standardize(mean, std)
        inputs = [in_channels] + [pair[1] for pair in encoder]
        self.encoder = nn.ModuleList(_level(i, *pair) for i, pair in zip(inputs, encoder, strict=False))
        self.pool = nn.MaxPool3d(2)
        self.dropout = nn.Dropout3d(dropout)
        below = [encoder[-1][1]] + [pair[1] for pair in decoder[:-1]]
        self.up = nn.ModuleList(nn.ConvTranspose3d(i, o, 2, stride=2) for i, o in zip(below, up, strict=True))
        skips = [pair[1] for pair in encoder[-2::-1]]
        self.decoder = nn.ModuleList(_level(s + u, *pair) for s, u, pair in zip(skips, up, decoder, strict=True))
        self.head = nn.Conv3d(decoder[-1][1], out_channels, 3, padding=1)

    @property
    def mean(self) -> Tensor:
        return self.standardize.mean

    @property
    def std(self) -> Tensor:
        return self.standardize.std

    def forward(self, image: Tensor) -> Tensor:
        if any(size % self.factor for size in image.shape[2:]):
            raise ValueError(f"spatial size {tuple(image.shape[2:])} must be multiples of {self.factor}")
        x = self.standardize(image)
        skips = []
        for level in self.encoder[:-1]:
            x = level(x)
            skips.append(x)
            x = self.pool(x)
        x = self.dropout(self.encoder[-1](x))
        for up, level in zip(self.up, self.decoder, strict=True):
            x = level(torch.cat([skips.pop(), up(x)], dim=1))
        return self.head(x)


def _level(inputs: int, first: int, second: int) -> nn.Sequential:
    # No bias before BatchNorm: its shift is one already.
    return nn.Sequential(
        nn.Conv3d(inputs, first, 3, padding=1, bias=False),
        nn.BatchNorm3d(first),
        nn.ReLU(inplace=True),
        nn.Conv3d(first, second, 3, padding=1, bias=False),
        nn.BatchNorm3d(second),
        nn.ReLU(inplace=True),
    )


def _check_widths(widths: Widths) -> None:
    missing = {"encoder", "up", "decoder"} - set(widths)
    if missing:
        raise ValueError(f"widths lack {sorted(missing)}; see unet_widths")
    levels = len(widths["encoder"])
    if levels < 2 or len(widths["up"]) != levels - 1 or len(widths["decoder"]) != levels - 1:
        raise ValueError(
            f"widths of {levels} encoder levels need {levels - 1} up and decoder levels, "
            f"not {len(widths['up'])} and {len(widths['decoder'])}"
        )
    flat = [w for pair in (*widths["encoder"], *widths["decoder"]) for w in pair] + list(widths["up"])
    if any(int(w) < 1 for w in flat):
        raise ValueError("every width must be at least 1")
