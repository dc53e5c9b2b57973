"""The trainer of the bundles' configs and its handlers: how long it runs, what it saves, when it validates."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch.distributed as dist
from ignite.engine import Engine, Events
from ignite.handlers.tqdm_logger import ProgressBar
from monai.engines import Evaluator, SupervisedTrainer
from monai.handlers import CheckpointLoader, CheckpointSaver, LrScheduleHandler, ValidationHandler
from torch.optim.lr_scheduler import PolynomialLR

from oarseg.errors import ConfigError
from oarseg.training.average import UpdateAverage
from oarseg.training.statistics import SetStatistics
from oarseg.training.weights import LoadWeights

logger = logging.getLogger(__name__)
# Far longer than a waiting thread needs to let go, far shorter than anyone notices.
GRACE_SECONDS = 0.5


def supervised_trainer(amp: bool = True, **parts: Any) -> SupervisedTrainer:
    """Return MONAI's trainer without its own half precision.

    Args: ``amp``: what the config's inferers read to compute in bfloat16, which needs no gradient scaler. ``parts``:
    MONAI's arguments.
    """
    return SupervisedTrainer(amp=False, **parts)


def epoch_count(epochs: int | None, steps: int, steps_per_epoch: int) -> int:
    """Return the number of epochs of a training: ``epochs`` where it is given, else enough for ``steps`` steps.

    At least one. Raises ConfigError for what is no whole number, epochs below 1, steps below 0, or an empty epoch.
    """
    if steps_per_epoch < 1:
        raise ConfigError("an epoch has no step: there are fewer training cases than batch_size")
    name, value, least = ("steps", steps, 0) if epochs is None else ("epochs", epochs, 1)
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(f"{name} is {value!r}; expected a whole number from {least} on")
    return max(1, -(-steps // steps_per_epoch)) if epochs is None else epochs


class ResumableCheckpoint:
    """Save the state of training as it goes, and go on from the newest one in ``folder``.

    Args: ``objects``: what has a state (network, optimizer, scheduler); the trainer it is attached to is added, which a
    config cannot do itself, as a trainer may not refer to itself. ``map_location``: device to load to. ``interval``:
    epochs from one save to the next. ``resume``: False begins anew, whatever an earlier run saved. The bundles so begin
    each request of MONAI Label, whose cases do not say what they label, as a training of its own.
    A stopped run that is started with a larger ``max_epochs`` goes on to the larger.
    Raises ConfigError for an interval below 1.
    """

    prefix = "train"

    def __init__(
        self, folder: str, objects: Mapping, map_location: str | None = None, interval: int = 1, resume: bool = True
    ) -> None:
        if interval < 1:
            raise ConfigError(f"save_interval is {interval}; expected 1 or more epochs from one save to the next")
        self.folder, self.objects, self.map_location = Path(folder), dict(objects), map_location
        self.interval, self.resume = interval, resume

    def attach(self, engine: Engine) -> None:
        state = self.objects | {"trainer": engine}
        if self.resume:
            engine.add_event_handler(Events.STARTED, self._resume, state)
        if dist.is_initialized() and dist.get_rank() > 0:
            return
        settings = {"file_prefix": self.prefix, "save_interval": self.interval, "n_saved": 1}
        saver = CheckpointSaver(str(self.folder), state, **settings)
        saver.attach(engine)
        # The end too, wherever in the interval it comes, so that a finished run is known to be one.
        engine.add_event_handler(Events.COMPLETED, self._end, saver)

    def _end(self, engine: Engine, saver: CheckpointSaver) -> None:
        if engine.state.epoch % self.interval:
            saver.interval_completed(engine)

    def _resume(self, engine: Engine, state: dict) -> None:
        found = sorted(self.folder.glob(f"{self.prefix}_*.pt"), key=lambda p: p.stat().st_mtime)
        if not found:
            return
        max_epochs = engine.state.max_epochs
        totals = {key: value.total_iters for key, value in state.items() if isinstance(value, PolynomialLR)}
        try:
            CheckpointLoader(str(found[-1]), state, map_location=self.map_location)(engine)
        except ValueError as error:
            raise ConfigError(f"{found[-1]} cannot be resumed for {max_epochs} epochs: {error}") from error
        engine.state.max_epochs = max_epochs
        for key, total in totals.items():
            _stretch(state[key], total)
        logger.info("resumed from %s at epoch %d of %d", found[-1].name, engine.state.epoch, max_epochs)


def _stretch(schedule: PolynomialLR, total: int) -> None:
    """Let a resumed schedule end at ``total`` epochs, whatever end the stopped run had."""
    if schedule.total_iters == total:
        return
    schedule.total_iters = total
    left = max(0.0, 1 - schedule.last_epoch / total) ** schedule.power
    schedule._last_lr = [base * left for base in schedule.base_lrs]
    for group, rate in zip(schedule.optimizer.param_groups, schedule._last_lr, strict=True):
        group["lr"] = rate


class ValidateByEpoch(ValidationHandler):
    """Validate every ``interval`` epochs, and after the last epoch in any case.

    Args: ``validator``: the evaluator to run. ``interval``: epochs (not steps); 0 never validates.
    Raises ConfigError for an interval below 0.
    """

    def __init__(self, validator: Evaluator, interval: int) -> None:
        if interval < 0:
            raise ConfigError(f"val_interval is {interval}; expected epochs from one validation to the next, or 0")
        super().__init__(interval, validator, epoch_level=True)

    def attach(self, engine: Engine) -> None:
        if not self.interval:
            logger.info("val_interval is 0: this training does not validate")
            return
        super().attach(engine)
        engine.add_event_handler(Events.COMPLETED, self._last)

    def _last(self, engine: Engine) -> None:
        if engine.state.epoch % self.interval:
            reached, interval = engine.state.epoch, self.interval
            logger.info("validating after the last epoch, %d; val_interval is %d epochs", reached, interval)
            self(engine)


def progress_bar() -> ProgressBar:
    """Return a bar over the steps of an epoch with the loss; silent where the output is not a terminal."""
    return ProgressBar(persist=False, disable=None, desc="training")


def on_main_rank(handlers: Sequence) -> list:
    """Return all handlers on the first process of a distributed run; on the others those that every process needs.

    Validation takes part everywhere (each rank has its share); writing files and logs is for one.
    """
    if not dist.is_initialized() or dist.get_rank() == 0:
        return list(handlers)
    shared = (ResumableCheckpoint, LoadWeights, SetStatistics, UpdateAverage, ValidationHandler, LrScheduleHandler)
    return [h for h in handlers if isinstance(h, shared)]


def leave_process_group() -> None:
    """End a distributed run: wait for the other processes, take the group down, let its threads finish.

    A thread of Gloo or of autograd may still hold tensors of the last step. If it needs the interpreter while that
    is shutting down, the process aborts ("terminate called without an active exception", pytorch/pytorch#190489) and
    a training that went well is reported as failed; so the interpreter waits for it here.
    """
    if not dist.is_initialized():
        return
    dist.barrier()
    dist.destroy_process_group()
    time.sleep(GRACE_SECONDS)
