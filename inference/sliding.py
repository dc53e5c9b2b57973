"""Windows in numpy: one network over a volume of any size, as :class:`oarseg.inference.WindowInferer` does it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from itertools import product
from math import prod

import numpy as np

# Of the Gaussian that windows are blended by, in window sizes; its least weight. MONAI's values.
SIGMA, LEAST = 0.125, 1e-3


def in_windows(
    image: np.ndarray,
    network: Callable[[np.ndarray], np.ndarray],
    window: Sequence[int],
    overlap: float = 0.25,
) -> np.ndarray:
    """Logits (1, C, D, H, W) float32 for a whole volume (1, 1, D, H, W): one pass where it fits into the window.

    Larger ones are passed in overlapping windows, blended by a Gaussian.
    Args: ``window``: D, H, W voxels of the largest pass, see ``deepened``. ``overlap``: share of a window that the next
    one repeats. Volumes whose sizes the network's factor (its attribute ``factor``, or 8) does not divide are padded.
    """

    def passes(padded: np.ndarray) -> np.ndarray:
        whole = padded.shape[2:]
        fitting = deepened(window, whole, factor_of(network))
        return network(padded) if fitting == whole else _blended(padded, network, fitting, overlap)

    return padded_pass(image, passes, factor_of(network))


def factor_of(network: Callable) -> int:
    """Return what the sizes of a network's images must be multiples of: its attribute ``factor``, or 8."""
    return getattr(network, "factor", 8)


def padded_pass(image: np.ndarray, network: Callable[[np.ndarray], np.ndarray], factor: int) -> np.ndarray:
    """Return the logits (1, C, D, H, W) of one pass over ``image``, padded with air (0) to multiples of ``factor``."""
    size = image.shape[2:]
    padding = [-n % factor for n in size]
    padded = np.pad(image, [(0, 0), (0, 0), *((0, n) for n in padding)]) if any(padding) else image
    return network(padded)[..., : size[0], : size[1], : size[2]]


def deepened(window: Sequence[int], whole: Sequence[int], factor: int = 8) -> tuple[int, ...]:
    """The window (D, H, W) for a volume of size ``whole``: as many voxels as ``window``, deeper where it is narrower.

    What a pass takes is memory, by its voxels; each window less spares computing an overlap. All sizes are multiples of
    ``factor``, as those of ``whole`` are.
    """
    height, width = (min(max(1, w // factor) * factor, n) for w, n in zip(window[1:], whole[1:], strict=True))
    depth = max(1, prod(window) // (height * width * factor)) * factor
    return min(depth, whole[0]), height, width


def _blended(image: np.ndarray, network: Callable, window: tuple[int, ...], overlap: float) -> np.ndarray:
    whole = image.shape[2:]
    corners = product(*(starts(n, w, overlap) for n, w in zip(whole, window, strict=True)))
    places = [tuple(slice(start, start + n) for start, n in zip(corner, window, strict=True)) for corner in corners]
    weight = importance(window)
    weights = np.zeros(whole, np.float32)
    for here in places:
        weights[here] += weight
    total: np.ndarray | None = None
    for here in places:
        logits = network(image[(..., *here)])
        if total is None:
            total = np.zeros((1, logits.shape[1], *whole), np.float32)
        share = weight / weights[here]
        for part, found in zip(total[0], logits[0], strict=True):
            # Channel by channel: all of them at once are hundreds of MB.
            part[here] += found * share
    return total


def starts(size: int, window: int, overlap: float) -> list[int]:
    """Where windows begin along an axis, so that they cover it; the last one ends with it."""
    step = max(1, int(window * (1 - overlap))) if window < size else window
    count = -(-max(0, size - window) // step) + 1
    return [min(i * step, size - window) for i in range(count)]


def importance(window: Sequence[int]) -> np.ndarray:
    """Weights (D, H, W) float32 of a window's voxels, the most in its middle."""
    axes = [np.exp(-((np.arange(n) - (n - 1) / 2) ** 2) / (2 * (SIGMA * n) ** 2)) for n in window]
    weight = reduce(np.multiply.outer, axes).astype(np.float32)
    return np.maximum(weight, max(weight[weight > 0].min(), LEAST))
