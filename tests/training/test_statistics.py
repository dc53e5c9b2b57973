"""Mean of the means and mean of the standard deviations (eqs 3-3, 3-4)."""

from __future__ import annotations

import json

import pytest
import torch
from ignite.engine import Engine
from site_tables import table_text
from torch import nn

from oarseg.errors import ConfigError
from oarseg.networks import Standardize, UNet3d
from oarseg.sites.table import FOLDER
from oarseg.training import SetStatistics, WeightAverage, load_weights, save_weights
from oarseg.training.statistics import intensity_statistics, save_statistics


class Draws(torch.utils.data.Dataset):
    """Two cases with known means and standard deviations."""

    items = [torch.tensor([[0.0, 2.0]]), torch.tensor([[4.0, 4.0]])]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> list[dict]:
        return [{"image": self.items[index]}]


def test_means_of_means_and_stds():
    # Means 1 and 4; standard deviations sqrt(2) and 0; the first case comes twice in three draws.
    mean, std = intensity_statistics(Draws(), draws=3)
    assert (mean, std) == (pytest.approx(2.0), pytest.approx(2 * 2**0.5 / 3, abs=1e-4))


def test_no_draws_is_an_error():
    with pytest.raises(ConfigError, match="at least one draw"):
        intensity_statistics(Draws(), draws=0)


def trained(network: nn.Module, source: str | None) -> None:
    engine = Engine(lambda engine, batch: None)
    SetStatistics(network, source, Draws()).attach(engine)
    engine.run([0], max_epochs=1)


def test_measured_read_or_left_before_the_first_step(tmp_path):
    save_statistics(tmp_path / "new" / "statistics.json", 0.25, 0.5, "hn_ct_localizer", 100)
    for source, expected in ((None, (0.1, 0.2)), (str(tmp_path / "new/statistics.json"), (0.25, 0.5))):
        network = nn.Sequential(Standardize(0.1, 0.2), nn.Conv3d(1, 1, 1))
        trained(network, source)
        assert (network[0].mean.item(), network[0].std.item()) == pytest.approx(expected)
    network = UNet3d(2, 4, mean=0.1, std=0.2)
    average = WeightAverage(network)
    trained(network, "dataset")
    average.update()
    state = average.averaged.state_dict()
    assert state["standardize.mean"].item() == pytest.approx(2.5)
    assert state["standardize.std"].item() == pytest.approx(2**0.5 / 2, abs=1e-4)
    # Half precision would move contours.
    save_weights(state | {"standardize.mean": torch.tensor(0.2536)}, tmp_path / "model.pt")
    other = UNet3d(2, 4)
    load_weights(other, tmp_path / "model.pt")
    assert other.mean.item() == pytest.approx(0.2536, abs=1e-8)


@pytest.mark.parametrize("content", ["", "[]", '{"mean": 0.2}', '{"mean": 0.2, "std": 0}', '{"mean": "x", "std": 1}'])
def test_a_file_that_holds_none(content: str, tmp_path):
    (tmp_path / "s.json").write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match="s.json"):
        SetStatistics(Standardize(0, 1), str(tmp_path / "s.json"), Draws())


def test_a_source_without_a_layer_or_a_file():
    with pytest.raises(ConfigError, match="Conv3d has no layer Standardize"):
        SetStatistics(nn.Conv3d(1, 1, 1), "dataset", Draws())
    with pytest.raises(ConfigError, match="nowhere.json: No such file"):
        SetStatistics(Standardize(0, 1), "nowhere.json", Draws())


def test_the_shipped_table_is_in_the_written_form():
    text = (FOLDER / "head_neck.json").read_text(encoding="utf-8")
    assert table_text(json.loads(text)) == text
