"""Losses of the method, all of them honouring partial labels (see :mod:`oarseg.networks.partial_labels`).

Each takes ``logits`` (B, C, D, H, W) and a one-hot ``target`` of the same shape, and returns a scalar.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from oarseg.errors import ConfigError
from oarseg.networks.partial_labels import marginal_log_probabilities, unlabelled_channels
from oarseg.sites import Organ


class PartialLabelLoss(nn.Module):
    """A loss that leaves unlabelled organs out; subclasses implement ``cost``, which sees none of them."""

    # By this the bundles' training knows losses that may be used where cases do not label every organ.
    honours_partial_labels = True

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        log_p, filled = marginal_log_probabilities(logits, target)
        return self.cost(log_p, filled, ~unlabelled_channels(target))

    def cost(self, log_p: Tensor, target: Tensor, labelled: Tensor) -> Tensor:
        """Return the loss of log-probabilities and float target, (B, C, D, H, W); ``labelled``: (B, C) bool."""
        raise NotImplementedError


class FocalLoss(PartialLabelLoss):
    """-a_t (1 - p_t)^gamma log p_t (eq. 3-10; Lin et al., ICCV 2017), averaged over voxels.

    ``gamma`` 0 and no ``alpha`` is plain cross entropy (eq. 3-8). ``alpha``: a weight for each class, or None.
    """

    def __init__(self, gamma: float = 2.0, alpha: Sequence[float] | None = None) -> None:
        super().__init__()
        if gamma < 0:
            raise ValueError(f"gamma must not be negative, not {gamma}")
        self.gamma = gamma
        self.register_buffer("alpha", None if alpha is None else torch.tensor(list(alpha)), persistent=False)

    def cost(self, log_p: Tensor, target: Tensor, labelled: Tensor) -> Tensor:
        log_pt = (log_p * target).sum(dim=1)
        loss = -log_pt
        if self.gamma:
            loss = (1 - log_pt.exp()).clamp(min=1e-6) ** self.gamma * loss
        if self.alpha is not None:
            loss = loss * torch.einsum("c,bc...->b...", self.alpha.to(target), target)
        return loss.mean()


class WeightedCrossEntropyLoss(PartialLabelLoss):
    """Cross entropy weighted by class proportion: a class with share s of the voxels weighs 1 - s.

    The shares are those of the batch, so that an organ of two per cent weighs 49 times the background.
    The result is the weighted mean, as in ``torch.nn.CrossEntropyLoss(weight=...)``.
    """

    def cost(self, log_p: Tensor, target: Tensor, labelled: Tensor) -> Tensor:
        share = target.mean(dim=[0, *range(2, target.ndim)])
        weight = torch.einsum("c,bc...->b...", 1 - share, target)
        return -((log_p * target).sum(dim=1) * weight).sum() / weight.sum().clamp(min=1e-6)


class DiceLoss(PartialLabelLoss):
    """One minus the soft Dice (eq. 3-9; Milletari et al., 3DV 2016), mean over the labelled organs of the batch.

    The background does not count. ``smooth`` (voxels) keeps organs that are absent from the crop well-behaved.
    """

    def __init__(self, smooth: float = 1.0) -> None:
        super().__init__()
        self.smooth = smooth

    def cost(self, log_p: Tensor, target: Tensor, labelled: Tensor) -> Tensor:
        # Unlabelled channels have target 0 and log-probability 0: they drop out of the organ's sums here.
        use = labelled[:, 1:].to(log_p.dtype)
        p, t = log_p[:, 1:].flatten(2).exp(), target[:, 1:].flatten(2)
        both = torch.einsum("bcn,bcn,bc->c", p, t, use)
        either = torch.einsum("bcn,bc->c", p, use) + torch.einsum("bcn,bc->c", t, use)
        some = labelled[:, 1:].any(dim=0)
        if not some.any():
            return log_p.sum() * 0.0
        return 1 - ((2 * both + self.smooth) / (either + self.smooth))[some].mean()


class SumLoss(PartialLabelLoss):
    """The sum of several losses, each times its weight (1 where none is given).

    Raises ConfigError for a loss that does not heed partial labels, ValueError for another number of weights.
    """

    def __init__(self, losses: Sequence[PartialLabelLoss], weights: Sequence[float] | None = None) -> None:
        super().__init__()
        if others := [type(loss).__name__ for loss in losses if not isinstance(loss, PartialLabelLoss)]:
            raise ConfigError(f"SumLoss adds losses of oarseg.networks (PartialLabelLoss), which {others[0]} is not")
        self.losses = nn.ModuleList(losses)
        self.weights = [1.0] * len(losses) if weights is None else list(weights)
        if len(self.weights) != len(self.losses):
            raise ValueError(f"{len(self.losses)} losses need as many weights, not {len(self.weights)}")

    def cost(self, log_p: Tensor, target: Tensor, labelled: Tensor) -> Tensor:
        parts = zip(self.weights, self.losses, strict=True)
        return sum(weight * loss.cost(log_p, target, labelled) for weight, loss in parts)


def fitting_loss(loss: Callable, cases: Sequence[Mapping], organs: Sequence[Organ]) -> Callable:
    """Return ``loss``, once it is known to heed partial labels wherever a training case has them.

    A target holds 255 in the channel of an organ that its case does not label (see ``oarseg.networks.partial_labels``).
    oarseg's losses leave such channels out; any other would take the 255 for a probability. A loss of your own that
    leaves them out says so with an attribute: ``honours_partial_labels = True``.

    Args: ``cases``: of the training; a case without "labelled" labels all. ``organs``: those the network tells apart.
    Raises ConfigError for a loss that does not, where at least one case lacks an organ.
    """
    if getattr(loss, "honours_partial_labels", False):
        return loss
    keys = [organ.key for organ in organs]
    lacking = [(case, [k for k in keys if k not in case["labelled"]]) for case in cases if "labelled" in case]
    lacking = [(case, missing) for case, missing in lacking if missing]
    if lacking:
        case, missing = lacking[0]
        name = getattr(loss, "__name__", type(loss).__name__)
        raise ConfigError(
            f"loss {name} does not heed partial labels, and {len(lacking)} of {len(cases)} training cases lack organs "
            f"({case.get('image', 'a case')}: {', '.join(missing)}); use the losses of oarseg.networks, or train on "
            "cases that label every organ"
        )
    return loss
