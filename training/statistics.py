"""Mean and standard deviation of what a network is trained on (eqs 3-3 and 3-4)."""

from __future__ import annotations

from collections.abc import Sequence

from monai.bundle import ConfigParser
from torch.utils.data import Dataset
from tqdm import tqdm

from oarseg.errors import ConfigError


def intensity_statistics(dataset: Dataset, draws: int = 100) -> tuple[float, float]:
    """Mean of the means and mean of the standard deviations of ``draws`` augmented training samples.

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
    """The statistics of a bundle's own training dataset, as its ``configs/train.json`` defines it.

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
