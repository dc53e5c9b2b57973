"""The running average of the weights, on networks small enough to follow by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from ignite.engine import Engine
from torch import nn

from oarseg.training import ResumableCheckpoint, UpdateAverage, WeightAverage, read_state


def counting(network: nn.Module, average: WeightAverage) -> Engine:
    """An engine that adds one to every weight at each step."""

    def step(engine: Engine, batch: int) -> None:
        with torch.no_grad():
            for parameter in network.parameters():
                parameter += 1

    engine = Engine(step)
    UpdateAverage(average).attach(engine)
    return engine


def zeros() -> nn.Linear:
    network = nn.Linear(1, 1)
    nn.init.zeros_(network.weight)
    nn.init.zeros_(network.bias)
    return network


def test_first_steps_count_more_than_the_decay_says() -> None:
    network = zeros()
    average = WeightAverage(network, decay=0.5)
    counting(network, average).run([0, 1, 2], max_epochs=1)
    # 1; then keep 2/11 of it: 2 - 1 * 2/11; then keep 3/12: 3 - (3 - 20/11) / 4.
    assert average.averaged.weight.item() == pytest.approx(3 - (3 - 20 / 11) / 4)
    assert network.weight.item() == 3


def test_long_runs_follow_the_decay() -> None:
    network = zeros()
    average = WeightAverage(network, decay=0.5)
    counting(network, average).run(range(100), max_epochs=1)
    # Of weights that grow by one a step, an average with decay d lags d / (1 - d) steps behind.
    assert average.averaged.weight.item() == pytest.approx(99, abs=1e-4)


def test_the_start_counts_only_what_was_loaded() -> None:
    network = zeros()
    average = WeightAverage(network)
    with torch.no_grad():
        network.weight.fill_(41)  # as weights loaded after the average was made
    counting(network, average).run([0], max_epochs=1)
    assert average.averaged.weight.item() == 42


def test_batch_norm_statistics_are_averaged_and_counted() -> None:
    network = nn.BatchNorm1d(1)
    average = WeightAverage(network, decay=0.5)

    def step(engine: Engine, batch: int) -> None:
        network(torch.full((4, 1), 10.0) * torch.arange(4)[:, None])

    engine = Engine(step)
    UpdateAverage(average).attach(engine)
    engine.run(range(200), max_epochs=1)
    assert average.averaged.running_mean.item() == pytest.approx(15, abs=1e-3)
    assert average.averaged.num_batches_tracked.item() == 200


def test_survives_a_restart_and_is_what_a_checkpoint_gives(tmp_path: Path) -> None:
    def run(epochs: int) -> tuple[nn.Linear, WeightAverage]:
        network = zeros()
        average = WeightAverage(network, decay=0.9)
        engine = counting(network, average)
        engine.state.max_epochs = epochs
        ResumableCheckpoint(str(tmp_path), {"network": network, "average": average}).attach(engine)
        engine.run([0, 1], max_epochs=epochs)
        return network, average

    run(2)
    network, resumed = run(4)
    other = zeros()
    straight = WeightAverage(other, decay=0.9)
    counting(other, straight).run([0, 1], max_epochs=4)
    assert network.weight.item() == 8
    assert resumed.averaged.weight.item() == pytest.approx(straight.averaged.weight.item())
    newest = max(tmp_path.glob("train_*.pt"), key=lambda path: path.stat().st_mtime)
    assert read_state(newest)["weight"].item() == pytest.approx(resumed.averaged.weight.item())


def test_unwraps_a_distributed_network() -> None:
    class Wrapper(nn.Module):
        def __init__(self, module: nn.Module) -> None:
            super().__init__()
            self.module = module

    inner = zeros()
    assert set(WeightAverage(Wrapper(inner)).averaged.state_dict()) == set(inner.state_dict())


def test_refuses_a_decay_that_never_forgets() -> None:
    with pytest.raises(ValueError, match="decay"):
        WeightAverage(zeros(), decay=1.0)
