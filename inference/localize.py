"""Stage 1: where each organ is; and one network over a volume of any size, in windows (numpy).

:class:`oarseg.inference.WindowInferer` passes the same windows for MONAI.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import product
from math import prod

import numpy as np
from scipy import ndimage
from scipy.special import expit

from oarseg.geometry.box import Box, body_grid, box_of_mask
from oarseg.geometry.grid import Grid
from oarseg.geometry.volume import Volume
from oarseg.sites import Organ, Site

# Image (1, 1, D, H, W) to logits (1, C, D, H, W), both float32.
Network = Callable[[np.ndarray], np.ndarray]
# A piece smaller than this share of the organ's least plausible volume is noise, not the organ.
LEAST_SHARE = 0.1
# Of an organ that is seen in several pieces, what is smaller than this share of the largest is noise.
LEAST_PIECE = 0.02
NEIGHBOURS = np.ones((3, 3, 3), dtype=bool)
# The Gaussian that windows are blended by: its width in window sizes, and its least weight. MONAI's values.
SIGMA, LEAST_WEIGHT = 0.125, 1e-3


@dataclass(frozen=True)
class Located:
    """An organ as stage 1 sees it: ``probability`` (d, h, w) on ``grid``, zero beyond its largest piece; ``box``."""

    organ: Organ
    probability: np.ndarray
    grid: Grid
    box: Box


def locate(image: Volume, network: Network, site: Site) -> dict[str, Located]:
    """Run the localizer over an image of any field of view; organs that it does not find are absent from the result."""
    body, grid = body_grid(image.voxels[None], image.grid, site.localizer.spacing_mm, image.values)
    logits = in_windows(body[None], network, site.localizer.window)[0]
    winner = likeliest(logits)
    voxel_cm3 = float(np.prod(grid.spacing)) / 1000
    found = {}
    for organ, place in zip(site.organs, ndimage.find_objects(winner, max_label=len(site.organs)), strict=True):
        if place is None:
            continue
        mask = pieces_of(organ, winner[place] == organ.value)
        if mask.sum() * voxel_cm3 >= LEAST_SHARE * organ.volume_cm3[0]:
            found[organ.key] = _located(organ, logits, mask, place, grid)
    return found


def likeliest(logits: np.ndarray) -> np.ndarray:
    """Return the class of each voxel, (D, H, W) uint8, of ``logits`` (C, D, H, W); the lower one of two equals."""
    winner = np.zeros(logits.shape[1:], np.uint8)
    # Class by class: argmax along the first axis was measured to take several times as long.
    best = logits[0].copy()
    for value, channel in enumerate(logits[1:], 1):
        winner[channel > best] = value
        np.maximum(best, channel, out=best)
    return winner


def _located(organ: Organ, logits: np.ndarray, mask: np.ndarray, place: tuple[slice, ...], grid: Grid) -> Located:
    """Return an organ whose piece is ``mask``, within ``place`` of ``grid``."""
    (inner,) = ndimage.find_objects(mask)
    start = [p.start + s.start for p, s in zip(place, inner, strict=True)]
    stop = [p.start + s.stop for p, s in zip(place, inner, strict=True)]
    low = tuple(max(0, a - 2) for a in start)
    high = tuple(min(n, b + 2) for n, b in zip(grid.shape, stop, strict=True))
    around = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    piece = np.zeros([b - a for a, b in zip(low, high, strict=True)], np.int8)
    piece[tuple(slice(a - c, b - c) for a, b, c in zip(start, stop, low, strict=True))] = mask[inner]
    # Against the background alone: a voxel on the border of two organs belongs to the likelier one, not to neither.
    probability = keep_piece(expit(logits[organ.value][around] - logits[0][around]), piece)
    crop = grid.crop(low, high)
    return Located(organ, probability, crop, box_of_mask(piece, crop))


def largest_piece(mask: np.ndarray) -> np.ndarray:
    """Return the largest 26-connected piece of a mask, as int8 (D, H, W)."""
    labels, count = ndimage.label(mask, structure=NEIGHBOURS)
    if count < 2:
        return (labels > 0).astype(np.int8)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return (labels == sizes.argmax()).astype(np.int8)


def pieces_of(organ: Organ, mask: np.ndarray) -> np.ndarray:
    """Return the organ's part of a mask, int8 (D, H, W): its largest piece, or all but noise of an organ in pieces."""
    if organ.one_piece:
        return largest_piece(mask)
    labels, _ = ndimage.label(mask, structure=NEIGHBOURS)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    keep = sizes >= LEAST_PIECE * sizes.max()
    keep[0] = False
    return keep[labels].astype(np.int8)


def keep_piece(probability: np.ndarray, piece: np.ndarray) -> np.ndarray:
    """Return ``probability``, zero beyond ``piece`` and its neighbours, so that the 0.5 level keeps its shape."""
    return probability * ndimage.binary_dilation(piece > 0, structure=NEIGHBOURS)


def in_windows(
    image: np.ndarray,
    network: Callable[[np.ndarray], np.ndarray],
    window: Sequence[int],
    overlap: float = 0.25,
) -> np.ndarray:
    """Return logits (1, C, D, H, W) float32 for a whole volume (1, 1, D, H, W): one pass where it fits into the window.

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
    """Return the window (D, H, W) for a volume of size ``whole``: as large as ``window``, deeper where it is narrower.

    Memory limits the voxels of a pass; fewer windows compute fewer overlaps. All sizes are multiples of
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
    """Return where windows begin along an axis, so that they cover it; the last one ends with it."""
    step = max(1, int(window * (1 - overlap))) if window < size else window
    count = -(-max(0, size - window) // step) + 1
    return [min(i * step, size - window) for i in range(count)]


def importance(window: Sequence[int]) -> np.ndarray:
    """Return weights (D, H, W) float32 of a window's voxels, the most in its middle."""
    axes = [np.exp(-((np.arange(n) - (n - 1) / 2) ** 2) / (2 * (SIGMA * n) ** 2)) for n in window]
    weight = reduce(np.multiply.outer, axes).astype(np.float32)
    return np.maximum(weight, max(weight[weight > 0].min(), LEAST_WEIGHT))
