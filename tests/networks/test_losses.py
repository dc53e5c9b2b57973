"""Losses against numbers worked out by hand and against torch's own."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from oarseg.networks import DiceLoss, FocalLoss, SumLoss, WeightedCrossEntropyLoss


def one_hot(index: Tensor, classes: int) -> Tensor:
    return F.one_hot(index, classes).movedim(-1, 1).to(torch.uint8)


@pytest.fixture
def case() -> tuple[Tensor, Tensor]:
    """Logits (2, 3, 4, 5, 6) and class indices (2, 4, 5, 6)."""
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(2, 3, 4, 5, 6, generator=generator)
    return logits, torch.randint(0, 3, (2, 4, 5, 6), generator=generator)


def voxels(*probabilities: tuple[float, ...]) -> Tensor:
    """Logits (1, C, n, 1, 1) of voxels with these class probabilities."""
    return torch.tensor(probabilities).log().T[None, :, :, None, None]


def test_focal_with_gamma_zero_is_cross_entropy(case: tuple[Tensor, Tensor]) -> None:
    logits, index = case
    torch.testing.assert_close(FocalLoss(gamma=0)(logits, one_hot(index, 3)), F.cross_entropy(logits, index))


def test_focal_on_paper() -> None:
    logits = voxels((0.8, 0.2), (0.4, 0.6))
    target = one_hot(torch.tensor([[0, 1]])[:, :, None, None], 2)
    expected = (0.2**2 * -math.log(0.8) + 0.4**2 * -math.log(0.6)) / 2
    assert FocalLoss(gamma=2)(logits, target).item() == pytest.approx(expected, rel=1e-5)
    weighted = (1 * 0.2**2 * -math.log(0.8) + 3 * 0.4**2 * -math.log(0.6)) / 2
    assert FocalLoss(gamma=2, alpha=[1, 3])(logits, target).item() == pytest.approx(weighted, rel=1e-5)


@pytest.mark.parametrize("gamma", [2, 1, 0, 0.5])
def test_focal_has_no_nan_gradient_where_the_network_is_certain(gamma: float) -> None:
    logits = torch.tensor([[200.0, -200.0], [-200.0, 200.0]]).T[None, :, :, None, None].requires_grad_()
    loss = FocalLoss(gamma)(logits, one_hot(torch.tensor([[0, 0]])[:, :, None, None], 2))
    loss.backward()
    assert torch.isfinite(logits.grad).all()


def test_focal_refuses_a_negative_gamma() -> None:
    with pytest.raises(ValueError, match="gamma"):
        FocalLoss(gamma=-1)


def test_dice_on_paper() -> None:
    logits = voxels((0.5, 0.5), (0.1, 0.9), (0.8, 0.2))
    target = one_hot(torch.tensor([[1, 1, 0]])[:, :, None, None], 2)
    expected = 1 - (2 * (0.5 + 0.9) + 1) / ((0.5 + 0.9 + 0.2) + 2 + 1)
    assert DiceLoss()(logits, target).item() == pytest.approx(expected, rel=1e-5)
    without = 1 - 2 * 1.4 / 3.6
    assert DiceLoss(smooth=0)(logits, target).item() == pytest.approx(without, rel=1e-5)


def test_dice_of_a_perfect_answer_is_zero_and_of_the_opposite_one() -> None:
    index = torch.arange(24).view(1, 2, 3, 4) % 3
    target = one_hot(index, 3)
    assert DiceLoss(smooth=0)(target.float() * 200 - 100, target).item() == pytest.approx(0, abs=1e-6)
    wrong = one_hot((index + 1) % 3, 3)
    assert DiceLoss(smooth=0)(wrong.float() * 200 - 100, target).item() == pytest.approx(1, abs=1e-6)


def test_weighted_cross_entropy_is_torchs(case: tuple[Tensor, Tensor]) -> None:
    logits, index = case
    index = torch.where(index == 2, 0, index)
    share = torch.bincount(index.flatten(), minlength=3) / index.numel()
    expected = F.cross_entropy(logits, index, weight=1 - share)
    torch.testing.assert_close(WeightedCrossEntropyLoss()(logits, one_hot(index, 3)), expected)


def test_weighted_cross_entropy_on_paper() -> None:
    logits = voxels((0.9, 0.1), (0.7, 0.3), (0.6, 0.4), (0.5, 0.5))
    target = one_hot(torch.tensor([[0, 0, 0, 1]])[:, :, None, None], 2)
    top = 0.25 * -(math.log(0.9) + math.log(0.7) + math.log(0.6)) + 0.75 * -math.log(0.5)
    assert WeightedCrossEntropyLoss()(logits, target).item() == pytest.approx(top / (3 * 0.25 + 0.75), rel=1e-5)


def test_weighted_cross_entropy_of_one_class_only_is_finite() -> None:
    loss = WeightedCrossEntropyLoss()(torch.zeros(1, 2, 2, 2, 2), one_hot(torch.zeros(1, 2, 2, 2).long(), 2))
    assert torch.isfinite(loss)


def test_sum(case: tuple[Tensor, Tensor]) -> None:
    logits, target = case[0], one_hot(case[1], 3)
    a, b = FocalLoss(), DiceLoss()
    torch.testing.assert_close(SumLoss([a, b])(logits, target), a(logits, target) + b(logits, target))
    torch.testing.assert_close(SumLoss([a, b], [2, 0.5])(logits, target), 2 * a(logits, target) + b(logits, target) / 2)
    with pytest.raises(ValueError, match="2 losses"):
        SumLoss([a, b], [1])


def test_channels_last_logits_cost_the_same(case: tuple[Tensor, Tensor]) -> None:
    logits, target = case[0], one_hot(case[1], 3)
    for loss in (FocalLoss(), DiceLoss(), WeightedCrossEntropyLoss()):
        last = logits.to(memory_format=torch.channels_last_3d)
        torch.testing.assert_close(loss(last, target), loss(logits, target))
