"""A small network that has learnt something, and a pipeline of stand-ins that know the phantom."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from oarseg.inference import Pipeline
from oarseg.inference.modules import array_networks
from oarseg.networks import UNet3d
from oarseg.sites import load_site

# As pruning leaves them: no two alike.
WIDTHS = {"encoder": [[5, 7], [9, 10], [15, 13]], "up": [9, 7], "decoder": [[10, 9], [7, 5]]}


def draw_sample(seed: int, size: tuple[int, int, int] = (16, 24, 24)) -> tuple[Tensor, Tensor]:
    """A noisy image (1, 1, D, H, W) with two organs, and its label map (1, D, H, W)."""
    random = np.random.default_rng(seed)
    place = np.moveaxis(np.indices(size), 0, -1)
    label = np.zeros(size, dtype=np.int64)
    for value, share in ((1, 0.3), (2, 0.7)):
        middle = np.array(size) * share + random.uniform(-2, 2, 3)
        label[(((place - middle) / (4 + value)) ** 2).sum(-1) <= 1] = value
    image = 0.3 + 0.2 * label + random.normal(0, 0.05, size)
    return torch.as_tensor(image[None, None], dtype=torch.float32), torch.as_tensor(label[None])


@pytest.fixture(scope="session")
def two_organs() -> Callable[..., tuple[Tensor, Tensor]]:
    """Function (seed, size=(16, 24, 24)) -> image and label map."""
    return draw_sample


@pytest.fixture(scope="session")
def trained() -> UNet3d:
    """A network of odd widths, mean 0.4 and std 0.2, that tells the two organs apart."""
    # On volumes so small several threads only wait for each other.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = UNet3d(3, widths=WIDTHS, mean=0.4, std=0.2, dropout=0.0).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    for step in range(80):
        image, label = draw_sample(step)
        loss = torch.nn.functional.cross_entropy(network(image), label, torch.tensor([1.0, 5, 5]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    torch.set_num_threads(threads)
    return network.eval()


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch, phantom) -> Pipeline:
    """The installed two-stage bundle, its networks replaced by stand-ins that know the phantom."""
    monkeypatch.setattr("oarseg.inference.bundle.verified", lambda root: (Path("model.pt"), "00"))
    monkeypatch.setattr("oarseg.inference.modules.load_weights", lambda network, path: None)
    pipeline = Pipeline(device="cpu")
    organs = load_site("head_neck").organs
    second = {o.key: phantom.ByIntensity([o.value]) for o in organs}
    pipeline.networks = array_networks(phantom.ByIntensity([o.value for o in organs]), second, "cpu")
    return pipeline
