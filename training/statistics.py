"""Mean and standard deviation of what a network is trained on (eqs 3-3 and 3-4): measured, stored, set."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path

from ignite.engine import Engine, Events
from monai.bundle import ConfigParser
from torch import nn
from torch.utils.data import Dataset
from tqdm import tqdm

from oarseg.errors import ConfigError
from oarseg.files import write_json
from oarseg.networks.standardize import standardizers

logger = logging.getLogger(__name__)
# Value of a training's ``statistics`` that has them measured.
MEASURED = "dataset"


def intensity_statistics(dataset: Dataset, draws: int = 100) -> tuple[float, float]:
    """Return the mean of the means and the mean of the standard deviations of ``draws`` augmented training samples.

    ``dataset``: a training dataset with its random transforms; items are dictionaries, or lists of one, with an
    "image" scaled by eq. 3-2. Cases are visited in turn, each draw with its own augmentation.
    """
    if draws < 1 or len(dataset) == 0:
        raise ConfigError(f"statistics need at least one draw from at least one case, not {draws} from {len(dataset)}")
    means, stds = [], []
    for draw in tqdm(range(draws), desc="statistics", disable=None):
        item = dataset[draw % len(dataset)]
        image = (item[0] if isinstance(item, Sequence) else item)["image"].float()
        means.append(float(image.mean()))
        stds.append(float(image.std()))
    return round(sum(means) / draws, 4), round(sum(stds) / draws, 4)


def bundle_statistics(bundle_root: str, dataset_dir: str, draws: int = 100) -> tuple[float, float]:
    """Return mean and standard deviation of a bundle's own training dataset, as its ``configs/train.json`` defines it.

    Only the first ``draws`` cases are read, in the datalist's order.
    """
    parser = ConfigParser()
    parser.read_config(f"{bundle_root}/configs/train.json")
    parser.read_meta(f"{bundle_root}/configs/metadata.json")
    # On the CPU the dataset applies all random transforms; on CUDA the trainer would apply some.
    parser.update({"bundle_root": bundle_root, "dataset_dir": dataset_dir, "device": "$torch.device('cpu')"})
    parser["initialize"] = ["$monai.utils.set_determinism(seed=2020)"]
    parser.get_parsed_content("initialize")
    return intensity_statistics(parser.get_parsed_content("train::dataset"), draws)


def save_statistics(path: str | Path, mean: float, std: float, bundle: str, draws: int) -> None:
    """Write a statistics file (JSON) for :class:`SetStatistics`. Raises OutputError where that cannot be done."""
    write_json(path, {"bundle": bundle, "mean": mean, "std": std, "draws": draws})


def read_statistics(path: str | Path) -> tuple[float, float]:
    """Return mean and standard deviation in a file of :func:`save_statistics`. Raises ConfigError where it is none."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        mean, std = float(content["mean"]), float(content["std"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or f"{type(error).__name__} {error}"
        raise ConfigError(
            f"statistics {path}: {reason}; give null, {MEASURED!r} or a file of oarseg statistics -o"
        ) from error
    if not (abs(mean) < float("inf") and 0 < std < float("inf")):
        raise ConfigError(f"statistics {path}: mean {mean} and std {std}; std must be positive, both finite")
    return mean, std


class SetStatistics:
    """Handler that gives a network its mean and standard deviation before the first step of a training.

    They become part of the weights that the training saves. A resumed training keeps those of its checkpoint.

    Args:
        network: has one :class:`oarseg.networks.Standardize` or more, such as a :class:`oarseg.networks.UNet3d`.
        source: None for what the network has (the site table's, or those of the weights that training begins with), a
            file that ``oarseg statistics -o`` wrote, or "dataset" to measure them on ``dataset``.
        dataset: the training dataset.
    Raises ConfigError for another source, and where the network does not normalise.
    """

    def __init__(self, network: nn.Module, source: str | None, dataset: Dataset) -> None:
        self.layers, self.source, self.dataset = list(standardizers(network)), source, dataset
        if source is not None and not self.layers:
            raise ConfigError(f"statistics is {source!r}, but {type(network).__name__} has no layer Standardize")
        self.given = None if source in (None, MEASURED) else read_statistics(source)

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self)

    def __call__(self, engine: Engine) -> None:
        if self.source is None:
            return
        mean, std = self.given or intensity_statistics(self.dataset)
        for layer in self.layers:
            layer.set(mean, std)
        logger.info("intensities: mean %g, std %g, from %s", mean, std, self.source)
