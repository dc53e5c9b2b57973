"""Windows in numpy give the numbers of MONAI's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data.utils import compute_importance_map, dense_patch_slices

from oarseg.inference import WindowInferer
from oarseg.inference.localize import deepened, importance, in_windows, starts


class Smooth(torch.nn.Module):
    """Stands for a network: two channels that depend on where in the window a voxel lies, and on its neighbours."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        mean = torch.nn.functional.avg_pool3d(image.float(), 3, 1, 1)
        place = torch.linspace(0, 1, image.shape[-1])
        return torch.cat([mean, mean * place - image], dim=1)


def as_numpy(image: np.ndarray) -> np.ndarray:
    return Smooth()(torch.from_numpy(np.ascontiguousarray(image))).numpy()


@pytest.mark.parametrize(
    "size", [(8, 16, 16), (9, 20, 13), (16, 16, 16), (30, 41, 17), (3, 50, 8), (8, 8, 25), (90, 8, 20)]
)
@pytest.mark.parametrize("overlap", [0.25, 0.5])
def test_the_same_numbers_as_monai(size: tuple[int, int, int], overlap: float) -> None:
    image = np.random.default_rng(0).random((1, 1, *size), dtype=np.float32)
    expected = WindowInferer((16, 16, 16), overlap)(torch.from_numpy(image), Smooth()).numpy()
    # The network stays in float32 here; the inferer may have it in half precision, which Smooth does not heed.
    found = in_windows(image, as_numpy, (16, 16, 16), overlap)
    assert found.dtype == np.float32 and found.shape == (1, 2, *size)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(("size", "window"), [(16, 16), (17, 16), (28, 16), (29, 16), (100, 24), (8, 8)])
def test_windows_lie_as_monais(size: int, window: int) -> None:
    for overlap in (0.0, 0.25, 0.9):
        step = window if window == size else max(1, int(window * (1 - overlap)))
        assert starts(size, window, overlap) == [s[0].start for s in dense_patch_slices((size,), (window,), (step,))]


def test_weights_are_monais() -> None:
    expected = compute_importance_map((8, 24, 13), mode="gaussian").numpy()
    np.testing.assert_allclose(importance((8, 24, 13)), expected, rtol=1e-5)


def test_one_pass_where_it_fits() -> None:
    seen = []

    def network(image: np.ndarray) -> np.ndarray:
        seen.append(image.shape)
        return as_numpy(image)

    image = np.ones((1, 1, 10, 16, 9), np.float32)
    assert in_windows(image, network, (16, 16, 16)).shape == (1, 2, 10, 16, 9)
    assert seen == [(1, 1, 16, 16, 16)]


def test_a_narrow_body_is_passed_in_deeper_windows_of_no_more_voxels() -> None:
    window = (72, 208, 208)
    assert deepened(window, (40, 208, 400)) == (40, 208, 208)
    assert deepened(window, (400, 208, 208)) == window
    # A head and neck of 375 mm, and a whole body of 1.8 m.
    assert deepened(window, (128, 112, 136)) == (128, 112, 136)
    assert deepened(window, (600, 112, 168)) == (160, 112, 168)
    for size in ((8, 8, 8), (104, 176, 208), (1000, 96, 104), (16, 400, 8)):
        depth, height, width = deepened(window, size)
        assert depth * height * width <= 72 * 208 * 208 and depth % 8 == 0 and depth >= min(72, size[0])
        assert (height, width) == (min(208, size[1]), min(208, size[2]))
