"""Losses that would take the mark of an unlabelled organ for a probability."""

from __future__ import annotations

import pytest
import torch
from monai.losses import DeepSupervisionLoss, DiceCELoss
from torch import nn

from oarseg.errors import ConfigError
from oarseg.networks import DiceLoss, FocalLoss, SumLoss
from oarseg.sites import load_site
from oarseg.training import fitting_loss

SITE = load_site()
ALL = [organ.key for organ in SITE.organs]
PARTLY = [{"image": "a.nii.gz", "labelled": ALL}, {"image": "b.nii.gz", "labelled": ALL[1:]}]


@pytest.mark.parametrize("loss", [DiceCELoss(softmax=True), DeepSupervisionLoss(SumLoss([DiceLoss()])), nn.MSELoss()])
def test_refused_where_a_case_lacks_an_organ(loss: nn.Module) -> None:
    with pytest.raises(ConfigError, match=f"{type(loss).__name__}.*1 of 2.*b.nii.gz: {ALL[0]}"):
        fitting_loss(loss, PARTLY, SITE.organs)


@pytest.mark.parametrize("cases", [[{"labelled": ALL}], [{"image": "x"}], []])
def test_taken_where_every_organ_is_labelled(cases: list) -> None:
    loss = DiceCELoss(softmax=True)
    assert fitting_loss(loss, cases, SITE.organs) is loss


def test_those_that_heed_partial_labels() -> None:
    own = DiceCELoss()
    own.honours_partial_labels = True
    for loss in (FocalLoss(), SumLoss([FocalLoss(), DiceLoss()]), own):
        assert fitting_loss(loss, PARTLY, SITE.organs) is loss


def test_none_in_a_sum() -> None:
    with pytest.raises(ConfigError, match="DiceCELoss"):
        SumLoss([FocalLoss(), SumLoss([DiceLoss(), DiceCELoss()])])
    assert torch.isfinite(SumLoss([DiceLoss()])(torch.zeros(1, 2, 2, 2, 2), torch.zeros(1, 2, 2, 2, 2).long()))
