"""Ignite handlers for long training runs."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from ignite.engine import Engine, Events
from ignite.handlers.tqdm_logger import ProgressBar
from monai.handlers import CheckpointLoader, CheckpointSaver, LrScheduleHandler, ValidationHandler
from torch.optim.lr_scheduler import PolynomialLR

from oarseg.errors import ConfigError
from oarseg.training.average import UpdateAverage
from oarseg.training.statistics import SetStatistics
from oarseg.training.weights import LoadWeights

logger = logging.getLogger(__name__)


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
        if torch.distributed.is_initialized() and torch.distributed.get_rank() > 0:
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


def progress_bar() -> ProgressBar:
    """Return a bar over the steps of an epoch with the loss; silent where the output is not a terminal."""
    return ProgressBar(persist=False, disable=None, desc="training")


def on_main_rank(handlers: Sequence) -> list:
    """Return all handlers on the first process of a distributed run; on the others those that every process needs.

    Validation takes part everywhere (each rank has its share); writing files and logs is for one.
    """
    if not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0:
        return list(handlers)
    shared = (ResumableCheckpoint, LoadWeights, SetStatistics, UpdateAverage, ValidationHandler, LrScheduleHandler)
    return [h for h in handlers if isinstance(h, shared)]


def prepare_staged_batch(batch: Mapping, device: torch.device, non_blocking: bool = False, **kwargs: object) -> tuple:
    """Prepare a sample of :class:`oarseg.transforms.RandStaged` for a :class:`oarseg.networks.TwoStageNet`.

    Returns image, target, and the arguments that make the network run the drawn part.
    """
    organ = batch["organ"][0] or None
    image, label = (batch[key].to(device=device, non_blocking=non_blocking) for key in ("image", "label"))
    return image, label, (), {"organ": organ}
