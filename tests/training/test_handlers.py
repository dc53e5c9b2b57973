"""Handlers of long training runs, on an engine that only counts."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
import torch
from ignite.engine import Engine, Events
from torch import nn

from oarseg.errors import ConfigError
from oarseg.training import ResumableCheckpoint, on_main_rank, prepare_staged_batch, read_state, save_weights
from oarseg.training.statistics import intensity_statistics


def train(
    folder: Path, epochs: int, stop_after: int | None = None, interval: int = 1, resume: bool = True
) -> tuple[Engine, nn.Linear]:
    """Adds one to the weights at each of two steps an epoch."""
    network = nn.Linear(1, 1)
    nn.init.zeros_(network.weight)

    def step(engine: Engine, batch: int) -> None:
        with torch.no_grad():
            network.weight += 1
        if engine.state.epoch == stop_after:
            raise KeyboardInterrupt

    engine = Engine(step)
    # MONAI's trainers know their epochs before they run.
    engine.state.max_epochs = epochs
    ResumableCheckpoint(str(folder), {"network": network}, interval=interval, resume=resume).attach(engine)
    with contextlib.suppress(KeyboardInterrupt):
        engine.run([0, 1], max_epochs=epochs)
    return engine, network


def test_goes_on_where_it_was_killed(tmp_path: Path) -> None:
    train(tmp_path, 5, stop_after=3)
    assert len(list(tmp_path.glob("train_*.pt"))) == 1
    engine, network = train(tmp_path, 5)
    assert engine.state.epoch == 5
    # Epochs 1 and 2 were saved, 3 was lost half-way and done again.
    assert network.weight.item() == 10
    engine, network = train(tmp_path, 7)
    assert (engine.state.epoch, network.weight.item()) == (7, 14)


def test_begins_anew_where_it_is_told_to(tmp_path: Path) -> None:
    train(tmp_path, 3)
    _, network = train(tmp_path, 3)
    assert network.weight.item() == 6  # read from the finished run: nothing was left to do
    _, network = train(tmp_path, 2, resume=False)
    assert network.weight.item() == 4


def test_seldom_saved_is_saved_at_the_end_too(tmp_path: Path) -> None:
    train(tmp_path, 9, stop_after=8, interval=3)
    engine, network = train(tmp_path, 8, interval=3)
    # Epochs 7 and 8 were done again from what was saved after the sixth.
    assert (engine.state.epoch, network.weight.item()) == (8, 16)
    engine, network = train(tmp_path, 8, interval=3)
    assert network.weight.item() == 16 and engine.state.iteration == 16


@pytest.mark.parametrize("interval", [0, -2])
def test_an_interval_that_never_saves_is_refused(interval: int, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"save_interval is {interval}"):
        ResumableCheckpoint(str(tmp_path), {}, interval=interval)


def test_a_longer_run_stretches_the_schedule(tmp_path: Path) -> None:
    def run(epochs: int) -> list[float]:
        parameter = nn.Parameter(torch.zeros(1))
        optimizer = torch.optim.SGD([parameter], lr=1.0)
        schedule = torch.optim.lr_scheduler.PolynomialLR(optimizer, total_iters=epochs, power=1.0)
        rates: list[float] = []

        def step(engine: Engine, batch: int) -> None:
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()

        engine = Engine(step)
        engine.state.max_epochs = epochs
        engine.add_event_handler(Events.EPOCH_COMPLETED, lambda e: schedule.step())
        ResumableCheckpoint(str(tmp_path), {"optimizer": optimizer, "lr_scheduler": schedule}).attach(engine)
        engine.run([0], max_epochs=epochs)
        return rates

    assert run(2) == pytest.approx([1.0, 0.5])
    assert run(4) == pytest.approx([0.5, 0.25])
    with pytest.raises(ConfigError, match="cannot be resumed for 3 epochs"):
        run(3)


def test_starts_anew_in_an_empty_folder(tmp_path: Path) -> None:
    engine, network = train(tmp_path / "new", 2)
    assert (engine.state.epoch, network.weight.item()) == (2, 4)


def test_checkpoint_gives_the_network(tmp_path: Path) -> None:
    train(tmp_path, 1)
    (path,) = tmp_path.glob("train_*.pt")
    assert read_state(path)["weight"].item() == 2


def test_all_handlers_without_other_processes() -> None:
    handlers = [object(), ResumableCheckpoint("x", {})]
    assert on_main_rank(handlers) == handlers


def test_other_ranks_keep_what_every_process_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 1)
    resume = ResumableCheckpoint("x", {})
    assert on_main_rank([object(), resume]) == [resume]


def test_staged_batch() -> None:
    batch = {"image": torch.zeros(1, 1, 2, 2, 2), "label": torch.ones(1, 2, 2, 2, 2), "organ": ["mandible"]}
    image, label, args, kwargs = prepare_staged_batch(batch, torch.device("cpu"))
    assert image.shape[1] == 1 and label.shape[1] == 2
    assert (args, kwargs) == ((), {"organ": "mandible"})
    assert prepare_staged_batch(batch | {"organ": [""]}, torch.device("cpu"))[3] == {"organ": None}


def test_statistics_are_the_means_of_the_cases() -> None:
    cases = [{"image": torch.tensor([0.0, 1.0])}, [{"image": torch.tensor([0.5, 0.5])}]]
    mean, std = intensity_statistics(cases, draws=4)
    assert mean == 0.5
    assert std == pytest.approx((0.7071 + 0) / 2, abs=1e-4)
    for dataset, draws in ((cases, 0), ([], 3)):
        with pytest.raises(ConfigError, match="at least one"):
            intensity_statistics(dataset, draws)


def test_saved_weights_are_half_but_norms_are_not(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv3d(1, 2, 3), nn.BatchNorm3d(2))
    network[1].running_var.fill_(1e6)
    save_weights(network.state_dict(), tmp_path / "deep/er/model.pt")
    state = read_state(tmp_path / "deep/er/model.pt")
    assert state["0.weight"].dtype == torch.float16
    assert state["1.weight"].dtype == state["1.running_var"].dtype == torch.float32
    assert state["1.running_var"].max() == 1e6
    assert state["1.num_batches_tracked"].dtype == torch.int64
    assert [p.name for p in (tmp_path / "deep/er").iterdir()] == ["model.pt"]
