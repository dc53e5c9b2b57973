"""How long a training lasts, and when it validates."""

from __future__ import annotations

import logging

from ignite.engine import Engine, Events
from monai.engines import Evaluator
from monai.handlers import ValidationHandler

from oarseg.errors import ConfigError

logger = logging.getLogger(__name__)


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
