"""Training with cases in which only some organs are contoured.

A target is one-hot, (B, C, D, H, W), channel 0 background. The channel of an organ that the case does not label holds
``UNLABELLED`` everywhere. A voxel without any labelled organ may then be background or such an organ, so those
probabilities are added up and the network is free to choose between them (the marginal loss of Shi et al., "Marginal
loss and exclusion loss for partially supervised multi-organ segmentation", Med. Image Anal. 2021).
"""

from __future__ import annotations

import torch
from torch import Tensor

UNLABELLED = 255


def unlabelled_channels(target: Tensor) -> Tensor:
    """Return (B, C) bool: which channels of a one-hot ``target`` (B, C, ...) have no label."""
    return target.flatten(2)[:, :, 0] == UNLABELLED


def marginal_log_probabilities(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return log-probabilities in which channel 0 is "background or an unlabelled organ".

    Args: ``logits`` (B, C, ...), ``target`` (B, C, ...) as described above.
    Returns: log-probabilities (B, C, ...) in float32, those of unlabelled channels zero and without gradient; and the
    target as float with the unlabelled channels zero, so that their product never counts.
    """
    unlabelled = unlabelled_channels(target)
    # Contiguous: the reductions that follow run over voxels, which channels-last logits would scatter.
    log_p = torch.log_softmax(logits.float().contiguous(), dim=1)
    if not unlabelled.any():
        return log_p, target.to(log_p.dtype)
    shape = unlabelled.shape + (1,) * (log_p.ndim - 2)
    drop = unlabelled.view(shape)
    merged = unlabelled.clone()
    merged[:, 0] = True
    background = log_p.masked_fill(~merged.view(shape), -torch.inf).logsumexp(dim=1, keepdim=True)
    log_p = torch.cat([background, log_p[:, 1:].masked_fill(drop[:, 1:], 0.0)], dim=1)
    return log_p, target.masked_fill(drop, 0).to(log_p.dtype)
