"""A bundle's own training, run again for another network: same data, loss, optimizer, handlers, trainer."""

from __future__ import annotations

import gc
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path

import torch
from monai.bundle import ConfigParser
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from oarseg.compression.structure import widths_of
from oarseg.errors import ConfigError
from oarseg.training.precision import autocast
from oarseg.training.weights import fit

# Set by the chain, or without influence on the weights.
OWN = ("_meta_", "bundle_root", "device", "epochs", "num_workers", "output_dir", "pretrained", "save_interval")
OWN += ("steps", "val_interval")
NETWORK = "oarseg.networks.UNet3d"


@dataclass(frozen=True)
class TrainedNetwork:
    """Result of a run: the averaged network, its validation metrics, the name of the key metric.

    ``steps``: optimizer steps of the whole run. ``size``: D, H, W, the largest volume the network saw in validation.
    """

    network: nn.Module
    metrics: dict[str, float]
    key: str
    steps: int
    size: tuple[int, ...]


class Recipe:
    """The training that a bundle's config describes, with the command line's overrides.

    Args: ``parser``: the config. A new parser with a copy of its text is made for every run, so that every run has an
    optimizer, a schedule, an average and handlers of its own; only the data sets, which take long to load, are shared.
    """

    def __init__(self, parser: ConfigParser) -> None:
        self.text = _copied(parser.config)
        self.dataset = cache(self._dataset)

    def settings(self, leave_out: tuple[str, ...] = ()) -> dict[str, str]:
        """Return every value of the config that matters by its id, as text, without the ids in ``leave_out``."""
        skip = {*OWN, *leave_out}
        return dict(_flat({key: value for key, value in self.text.items() if key not in skip}))

    def network(self, state: Mapping[str, Tensor], name: str | Path) -> nn.Module:
        """Return the config's network with plain weights from ``name``; a UNet3d gets the widths of the weights.

        Raises WeightsError or ConfigError where the weights are not such a network's.
        """
        definition = self.text["network_def"]
        pairs = {}
        if isinstance(definition, Mapping) and definition.get("_target_") == NETWORK:
            pairs["network_def"] = {**definition, "widths": widths_of(state)}
        network = self._parser(pairs).get_parsed_content("network_def")
        fit(network, state, name)
        return network

    def run(self, network: nn.Module, folder: Path, steps: int, norm_batches: int = 0) -> TrainedNetwork:
        """Train ``network`` for at least ``steps`` steps (whole epochs beyond the first), then validate its average.

        ``folder``: takes checkpoints and logs; a run that was stopped there goes on. No step is taken where ``steps``
        is 0. ``norm_batches``: of an epoch, from which BatchNorm's statistics are estimated anew before validation; 0
        leaves those of the training.
        """
        pairs = {
            "network_def": network,
            "output_dir": str(folder),
            "steps": steps,
            "epochs": None,
            "pretrained": None,
            "validate::dataset": self.dataset("validate"),
        }
        if steps or norm_batches:
            pairs["train::dataset"] = self.dataset("train")
            length = len(self._parser(pairs).get_parsed_content("train::dataloader"))
            if not length:
                raise ConfigError("there are fewer training cases than batch_size; nothing can be retrained")
        if steps:
            # An epoch ends early if it has more steps than are to be taken.
            pairs["train::trainer::epoch_length"] = min(steps, length)
        parser = self._parser(pairs)
        done = 0
        if steps:
            trainer = parser.get_parsed_content("train::trainer")
            trainer.run()
            done = trainer.state.iteration
        if norm_batches:
            _renormalize(parser, norm_batches)
        outcome = _validated(parser, done)
        del parser
        gc.collect()
        return outcome

    def _dataset(self, part: str) -> object:
        return self._parser({}).get_parsed_content(f"{part}::dataset")

    def _parser(self, pairs: Mapping) -> ConfigParser:
        parser = ConfigParser(_copied(self.text))
        parser.update(dict(pairs))
        return parser


def calling_parser() -> ConfigParser:
    """Return the parser of the config from which the caller is being built.

    The chain runs the training of that config again, with the command line's overrides. MONAI gives an object of a
    config no way to its parser, so the parser is looked up among the callers. Raises ConfigError if there is none.
    """
    frame = inspect.currentframe()
    while frame is not None:
        if isinstance(found := frame.f_locals.get("self"), ConfigParser):
            return found
        frame = frame.f_back
    raise ConfigError("the compression chain is part of a MONAI config; outside of one, give it a parser")


def _renormalize(parser: ConfigParser, batches: int) -> None:
    """Estimate the averaged network's BatchNorm statistics anew, from training batches.

    After a few steps they stem from the last few crops only, and in part from weights that have been pruned since.
    """
    network, device = parser.get_parsed_content("average").averaged, parser.get_parsed_content("device")
    loader, trainer = (parser.get_parsed_content(f"train::{part}") for part in ("dataloader", "trainer"))
    # Prepared by the trainer, which may apply transforms. A list, since those must not run in half precision.
    images = [
        trainer.prepare_batch(batch, device)[0].contiguous(memory_format=torch.channels_last_3d)
        for batch in islice(loader, batches)
    ]
    with autocast(device):
        update_bn(images, network, device)


def _validated(parser: ConfigParser, steps: int) -> TrainedNetwork:
    """Validate the averaged network of a parsed config."""
    network = parser.get_parsed_content("average").averaged
    evaluator = parser.get_parsed_content("validate::evaluator")
    size: list[int] = [0, 0, 0]

    def look(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        size[:] = max(size, list(inputs[0].shape[2:]), key=lambda n: n[0] * n[1] * n[2])

    hook = network.register_forward_pre_hook(look)
    evaluator.run()
    hook.remove()
    state = evaluator.state
    return TrainedNetwork(network, _scalars(state.metrics), state.key_metric_name, steps, tuple(size))


def _scalars(metrics: Mapping) -> dict[str, float]:
    """Return the metrics that are one number each; MONAI also keeps dictionaries of several."""
    single = {name: value for name, value in metrics.items() if isinstance(value, int | float | Tensor)}
    return {name: round(float(value), 6) for name, value in single.items() if torch.as_tensor(value).numel() == 1}


def _copied(item: object) -> object:
    """Return a copy of nested dictionaries and lists whose leaves are the same objects."""
    if isinstance(item, dict):
        return {key: _copied(value) for key, value in item.items()}
    return [_copied(value) for value in item] if isinstance(item, list) else item


def _flat(item: object, path: str = "") -> list[tuple[str, str]]:
    if isinstance(item, dict | list):
        pairs = item.items() if isinstance(item, dict) else enumerate(item)
        return [row for key, value in pairs for row in _flat(value, f"{path}::{key}" if path else str(key))]
    plain = isinstance(item, str | int | float | bool | type(None) | torch.device)
    return [(path, str(item) if plain else type(item).__name__)]
