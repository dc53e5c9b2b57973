"""Epochs, steps, and validation at the end of a run."""

from __future__ import annotations

import logging

import pytest
from ignite.engine import Engine

from oarseg.errors import ConfigError
from oarseg.training import ValidateByEpoch, epoch_count


def test_steps_fill_whole_epochs_and_epochs_win() -> None:
    assert epoch_count(None, 60, 167) == epoch_count(None, 0, 167) == 1
    assert epoch_count(None, 168, 167) == 2
    assert epoch_count(5, 6000, 167) == 5


@pytest.mark.parametrize(("epochs", "steps"), [(0, 60), (-1, 60), (2.5, 60), (True, 60), (None, -1), (None, "60")])
def test_counts_that_are_none(epochs: object, steps: object) -> None:
    name, value = ("steps", steps) if epochs is None else ("epochs", epochs)
    with pytest.raises(ConfigError, match=f"{name} is {value!r}"):
        epoch_count(epochs, steps, 10)


def test_an_epoch_without_a_step() -> None:
    with pytest.raises(ConfigError, match="batch_size"):
        epoch_count(3, 60, 0)


@pytest.mark.parametrize(
    ("epochs", "interval", "validated"), [(1, 8, [1]), (4, 2, [2, 4]), (5, 2, [2, 4, 5]), (3, 0, [])]
)
def test_a_run_validates_at_its_end(
    epochs: int, interval: int, validated: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[int] = []

    class Validator:
        def run(self, epoch: int) -> None:
            seen.append(epoch)

    engine = Engine(lambda engine, batch: None)
    handler = ValidateByEpoch(None, interval)
    handler.validator = Validator()
    with caplog.at_level(logging.INFO, "oarseg"):
        handler.attach(engine)
        engine.run([0, 1], max_epochs=epochs)
    assert seen == validated
    said = "does not validate" if not interval else "after the last epoch" if epochs % interval else ""
    assert said in caplog.text


def test_a_negative_interval() -> None:
    with pytest.raises(ConfigError, match="val_interval is -1"):
        ValidateByEpoch(None, -1)
