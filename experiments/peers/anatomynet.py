"""AnatomyNet, the published single-stage network that the method is compared with.

W. Zhu et al., *AnatomyNet: Deep learning for fast and fully automated whole-volume segmentation of head and neck
anatomy*, Med. Phys. 46, 2019 (arXiv:1808.05238). Written from the paper's description.
"""

from __future__ import annotations

import torch
from monai.networks.blocks import ChannelSELayer
from torch import Tensor, nn

from oarseg.networks.standardize import Standardize

# Channels of the strided convolution and of the residual stages of the encoder; the decoder goes back up the list.
STEM, STAGES = 28, (30, 32, 34)
FINE = 14
BLOCKS = 2


class AnatomyNet(nn.Module):
    """A 3D U-Net of squeeze-and-excitation residual blocks that halves the volume once, at its first convolution.

    Encoder: a 3x3x3 convolution of stride 2 to 28 channels, then stages of two residual blocks with 30, 32 and 34.
    Decoder: concatenation with the stage before and two residual blocks, with 32, 30 and 28 channels. Then a transposed
    convolution of stride 2 to 14 channels, concatenation with the input image, a residual block without gate, and a
    convolution to the classes.

    Args:
        in_channels: of the image.
        out_channels: classes, background included.
        mean, std: of the training intensities; the network normalises its input itself, as
            :class:`oarseg.networks.UNet3d` does.
        reduction: of the squeeze-and-excitation gates.

    It deviates from the paper where this project has one way for all networks: softmax over background and organs with
    the losses of :mod:`oarseg.networks.losses` (the paper masks the loss of missing organs), Adam, one image a batch.
    The gates' reduction is ours; the paper's text does not give it.

    Input (B, in_channels, D, H, W), scaled to [0, 1] by eq. 3-2; D, H and W even. Output (B, out_channels, D, H, W):
    logits. Raises ValueError on other sizes.
    """

    factor = 2

    def __init__(
        self, in_channels: int = 1, out_channels: int = 9, mean: float = 0.0, std: float = 1.0, reduction: int = 2
    ) -> None:
        super().__init__()
        self.standardize = Standardize(mean, std)
        self.stem = _convolution(in_channels, STEM, stride=2)
        below = (STEM, *STAGES)
        self.encoder = nn.ModuleList(_stage(i, o, reduction) for i, o in zip(below, STAGES, strict=False))
        # Deepest first: what comes from below, and the stage it meets, whose channels it takes.
        meets = below[-2::-1]
        self.decoder = nn.ModuleList(
            _stage(i + o, o, reduction) for i, o in zip((STAGES[-1], *meets), meets, strict=False)
        )
        self.up = nn.ConvTranspose3d(STEM, FINE, 2, stride=2)
        self.fine = SEResidualBlock(FINE + in_channels, FINE, reduction=None)
        self.head = nn.Conv3d(FINE, out_channels, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        if any(size % self.factor for size in image.shape[2:]):
            raise ValueError(f"spatial size {tuple(image.shape[2:])} must be multiples of {self.factor}")
        image = self.standardize(image)
        x = self.stem(image)
        skips = []
        for stage in self.encoder:
            skips.append(x)
            x = stage(x)
        for stage in self.decoder:
            x = stage(torch.cat([x, skips.pop()], dim=1))
        return self.head(self.fine(torch.cat([self.up(x), image], dim=1)))


class SEResidualBlock(nn.Module):
    """Two 3x3x3 convolutions, a squeeze-and-excitation gate (Hu et al., CVPR 2018), and the input added.

    Where the channels change, a 1x1x1 convolution takes the input along. ``reduction``: channels over hidden units of
    the gate; None for no gate. (B, inputs, D, H, W) to (B, outputs, D, H, W).
    """

    def __init__(self, inputs: int, outputs: int, reduction: int | None = 2) -> None:
        super().__init__()
        self.first = _convolution(inputs, outputs)
        self.second = nn.Sequential(nn.Conv3d(outputs, outputs, 3, padding=1, bias=False), nn.BatchNorm3d(outputs))
        self.gate = ChannelSELayer(3, outputs, r=reduction) if reduction else nn.Identity()
        self.along = nn.Identity()
        if inputs != outputs:
            self.along = nn.Sequential(nn.Conv3d(inputs, outputs, 1, bias=False), nn.BatchNorm3d(outputs))
        self.activation = nn.LeakyReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.gate(self.second(self.first(x))) + self.along(x))


def _stage(inputs: int, outputs: int, reduction: int) -> nn.Sequential:
    first = SEResidualBlock(inputs, outputs, reduction)
    return nn.Sequential(first, *(SEResidualBlock(outputs, outputs, reduction) for _ in range(BLOCKS - 1)))


def _convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv3d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm3d(outputs),
        nn.LeakyReLU(inplace=True),
    )
