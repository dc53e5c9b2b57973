"""An organ that a case does not label neither rewards nor punishes what the network does there."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from oarseg.networks import (
    UNLABELLED,
    DiceLoss,
    FocalLoss,
    SumLoss,
    WeightedCrossEntropyLoss,
    marginal_log_probabilities,
)

LOSSES = {
    "focal": FocalLoss(),
    "alpha": FocalLoss(0, [1, 2, 3, 4]),
    "dice": DiceLoss(),
    "weighted": WeightedCrossEntropyLoss(),
    "sum": SumLoss([FocalLoss(), DiceLoss()]),
}
each_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)


def partial_target(seed: int = 0) -> Tensor:
    """(1, 4, 2, 3, 4): organ 2 is not labelled."""
    index = torch.randint(0, 3, (1, 2, 3, 4), generator=torch.Generator().manual_seed(seed))
    index = torch.where(index == 2, 3, index)
    target = F.one_hot(index, 4).movedim(-1, 1).to(torch.uint8)
    target[:, 2] = UNLABELLED
    return target


def random_logits(seed: int = 3) -> Tensor:
    return torch.randn(1, 4, 2, 3, 4, generator=torch.Generator().manual_seed(seed))


@each_loss
def test_background_and_unlabelled_organ_may_share_as_they_like(loss: nn.Module) -> None:
    """Moving probability between the two changes neither the loss nor any gradient along that direction."""
    p = torch.softmax(random_logits(), dim=1)
    moved = p.clone()
    moved[:, 0], moved[:, 2] = 0.3 * (p[:, 0] + p[:, 2]), 0.7 * (p[:, 0] + p[:, 2])
    target = partial_target()
    torch.testing.assert_close(loss(p.log(), target), loss(moved.log(), target))
    probability = p.clone().requires_grad_()
    loss(probability.log(), target).backward()
    torch.testing.assert_close(probability.grad[:, 0], probability.grad[:, 2])
    # A labelled organ is another matter.
    assert not torch.allclose(probability.grad[:, 0], probability.grad[:, 1])


@each_loss
def test_where_nothing_is_known_the_two_are_merged_and_the_others_count(loss: nn.Module) -> None:
    """The partial loss is the loss of a network with three classes, background and organ 2 added up."""
    if isinstance(loss, FocalLoss) and loss.alpha is not None:
        loss = FocalLoss(0, [1, 2, 3, 4])
        merged_loss: nn.Module = FocalLoss(0, [1, 2, 4])
    else:
        merged_loss = loss
    p, target = torch.softmax(random_logits(), dim=1), partial_target()
    merged = torch.stack([p[:, 0] + p[:, 2], p[:, 1], p[:, 3]], dim=1)
    torch.testing.assert_close(loss(p.log(), target), merged_loss(merged.log(), target[:, [0, 1, 3]]))


@each_loss
def test_nothing_labelled_costs_nothing(loss: nn.Module) -> None:
    target = torch.full((1, 4, 2, 3, 4), UNLABELLED, dtype=torch.uint8)
    target[:, 0] = 1
    logits = random_logits().requires_grad_()
    value = loss(logits, target)
    value.backward()
    assert value.item() == pytest.approx(0, abs=1e-5)
    assert torch.isfinite(logits.grad).all()
    assert logits.grad.abs().max() < 1e-5


@each_loss
def test_extreme_logits_give_no_nan(loss: nn.Module) -> None:
    logits = (random_logits() * 1000).requires_grad_()
    value = loss(logits, partial_target())
    value.backward()
    assert torch.isfinite(value) and torch.isfinite(logits.grad).all()


def test_mixed_batch_is_the_mean_of_its_cases() -> None:
    logits = torch.cat([random_logits(3), random_logits(4)])
    full = partial_target(1)
    full[:, 2] = 0
    target = torch.cat([partial_target(), full])
    loss = FocalLoss()
    parts = [loss(logits[i : i + 1], target[i : i + 1]) for i in range(2)]
    torch.testing.assert_close(loss(logits, target), (parts[0] + parts[1]) / 2)


def test_dice_of_a_mixed_batch_takes_an_organ_from_the_cases_that_label_it() -> None:
    logits = torch.cat([random_logits(3), random_logits(4)])
    full = partial_target(1)
    full[:, 2] = 0
    full[:, 2, 0], full[:, [0, 1, 3], 0] = 1, 0
    target = torch.cat([partial_target(), full])
    dice = DiceLoss()
    p = torch.softmax(logits, dim=1)
    scores = []
    for organ in (1, 2, 3):
        cases = [1] if organ == 2 else [0, 1]
        t, q = target[cases, organ].float(), p[cases, organ]
        scores.append((2 * (t * q).sum() + 1) / (t.sum() + q.sum() + 1))
    torch.testing.assert_close(dice(logits, target), 1 - torch.stack(scores).mean())


def test_marginal_probabilities() -> None:
    logits, target = random_logits(), partial_target()
    log_p, filled = marginal_log_probabilities(logits, target)
    p = torch.softmax(logits, dim=1)
    torch.testing.assert_close(log_p[:, 0].exp(), p[:, 0] + p[:, 2])
    torch.testing.assert_close(log_p[:, 1].exp(), p[:, 1])
    assert not log_p[:, 2].any() and not filled[:, 2].any()
    torch.testing.assert_close(filled.sum(dim=1), torch.ones(1, 2, 3, 4))
    low = marginal_log_probabilities(logits.bfloat16(), target)[0]
    assert low.dtype == torch.float32
