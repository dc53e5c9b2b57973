"""Weights that are not numbers, and checkpoints that are not what they should be."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from oarseg.errors import WeightsError
from oarseg.training.weights import mean_state, read_state

GOOD = {"conv.weight": torch.ones(2, 3), "norm.num_batches_tracked": torch.tensor(4)}


def saved(content: object, folder: Path) -> Path:
    torch.save(content, folder / "model.pt")
    return folder / "model.pt"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("kind", [torch.float32, torch.float16])
def test_weights_that_are_no_numbers(value: float, kind: torch.dtype, tmp_path: Path) -> None:
    bad = GOOD | {"conv.weight": torch.tensor([1.0, value], dtype=kind)}
    with pytest.raises(WeightsError, match="model.pt: conv.weight holds NaN or infinity"):
        read_state(saved(bad, tmp_path))
    with pytest.raises(WeightsError, match="checkpoint 2 of 2: conv.weight holds NaN or infinity"):
        mean_state([GOOD | {"conv.weight": torch.zeros(2)}, bad])
    assert read_state(saved(GOOD, tmp_path)).keys() == GOOD.keys()


@pytest.mark.parametrize("average", [torch.ones(2), [1, 2], None, {1: torch.ones(2)}])
def test_an_average_that_is_no_state(average: object, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="'average' is a .*, expected a state dict"):
        read_state(saved({"network": GOOD, "average": average}, tmp_path))


def test_the_average_counts(tmp_path: Path) -> None:
    average = {"n_averaged": torch.tensor(3), "module.conv.weight": torch.full((2, 3), 5.0)}
    assert read_state(saved({"network": GOOD, "average": average}, tmp_path))["conv.weight"].unique().item() == 5
    with pytest.raises(WeightsError, match="no state dict of tensors"):
        read_state(saved({"average": {"n_averaged": torch.tensor(3)}}, tmp_path))


def test_the_mean_of_what_has_none() -> None:
    mean = mean_state([GOOD, GOOD | {"conv.weight": torch.full((2, 3), 3.0)}])
    assert mean["conv.weight"].unique().item() == 2 and mean["norm.num_batches_tracked"].item() == 4
    with pytest.raises(WeightsError, match="no weights to take the mean of"):
        mean_state([])
    for other in ({"conv.weight": torch.ones(3, 3)}, {"other": torch.ones(2, 3)}, GOOD | {"more": torch.ones(1)}):
        with pytest.raises(WeightsError, match="checkpoints 1 and 2 are of different networks"):
            mean_state([other, GOOD])
