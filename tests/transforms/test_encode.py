"""From label maps to targets, with and without all organs."""

from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor
from monai.metrics import DiceMetric

from oarseg.errors import ConfigError
from oarseg.networks import UNLABELLED
from oarseg.sites import load_site
from oarseg.transforms import EncodeForMetricsd, EncodePartialLabels, EncodePartialLabelsd

SITE = load_site()
LABEL = MetaTensor(torch.tensor([0.0, 1, 2, 3, 4, 5, 6, 7, 8, 4]).view(1, 1, 2, 5))


def test_all_organs() -> None:
    out = EncodePartialLabels(SITE.organs)(LABEL)
    assert out.dtype == torch.uint8
    assert out.shape == (9, 1, 2, 5)
    assert torch.equal(out.argmax(dim=0), LABEL[0].long())
    assert torch.equal(out.sum(dim=0), torch.ones(1, 2, 5))


def test_unlabelled_organs_are_marked_and_their_voxels_are_background() -> None:
    out = EncodePartialLabels(SITE.organs)(LABEL, ["brainstem", "mandible"])
    for channel in (2, 3, 5, 6, 7, 8):
        assert (out[channel] == UNLABELLED).all()
    assert out[4].flatten().tolist() == [0, 0, 0, 0, 1, 0, 0, 0, 0, 1]
    assert out[0].flatten().tolist() == [1, 0, 1, 1, 0, 1, 1, 1, 1, 0]


def test_nothing_labelled_and_unknown_organ() -> None:
    out = EncodePartialLabels(SITE.organs)(LABEL, [])
    assert (out[0] == 1).all() and (out[1:] == UNLABELLED).all()
    with pytest.raises(ConfigError, match="heart"):
        EncodePartialLabels(SITE.organs)(LABEL, ["heart"])


def test_dictionary_form_reads_labelled() -> None:
    encode = EncodePartialLabelsd("label", SITE.organs)
    assert (encode({"label": LABEL, "labelled": ["brainstem"]})["label"][8] == UNLABELLED).all()
    assert not (encode({"label": LABEL})["label"] == UNLABELLED).any()
    assert "label" not in EncodePartialLabelsd("label", SITE.organs, allow_missing_keys=True)({"labelled": []})
    with pytest.raises(KeyError):
        encode({})


def test_metrics_leave_out_what_is_not_labelled() -> None:
    """A reference without a left eye gives that organ no score, whatever was predicted."""
    label = LABEL.clone()
    label[label == 2] = 0
    encode = EncodeForMetricsd(["pred", "label"], SITE.organs)
    metric = DiceMetric(include_background=False, reduction="none")
    # Voxels of an organ that the case does not list as labelled do not count either.
    out = encode({"pred": LABEL, "label": label, "labelled": ["brainstem"]})
    scores = metric(out["pred"][None], out["label"][None])[0]
    assert scores[0] == 1 and torch.isnan(scores[1:]).all()
    out = encode({"pred": LABEL, "label": label})
    scores = metric(out["pred"][None], out["label"][None])[0]
    assert torch.isnan(scores[1])
    assert torch.equal(scores[[0, 2, 3, 4, 5, 6, 7]], torch.ones(7))
    # One organ's network: the other values do not count.
    one = EncodeForMetricsd(["pred"], [SITE.organ("mandible")])({"pred": LABEL})["pred"]
    assert one.shape[0] == 2 and one[1].sum() == 2
