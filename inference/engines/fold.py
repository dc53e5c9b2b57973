"""BatchNorm made part of the convolution before it, which at inference changes nothing but the time."""

from __future__ import annotations

import copy
from itertools import pairwise

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights


def folded(network: nn.Module) -> nn.Module:
    """A copy of ``network``, for inference, without the BatchNorms that follow a convolution in a ``Sequential``.

    Networks without such pairs come back as plain copies.
    """
    network = copy.deepcopy(network).eval()
    for block in [module for module in network.modules() if isinstance(module, nn.Sequential)]:
        for (_, convolution), (name, norm) in pairwise(list(block.named_children())):
            if isinstance(convolution, nn.Conv3d) and isinstance(norm, nn.BatchNorm3d) and norm.track_running_stats:
                convolution.weight, convolution.bias = fuse_conv_bn_weights(
                    convolution.weight, convolution.bias, norm.running_mean, norm.running_var,
                    norm.eps, norm.weight, norm.bias,
                )  # fmt: skip
                setattr(block, name, nn.Identity())
    return network
