"""Stage 1: where each organ is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.special import expit

from oarseg.geometry.box import Box, body_grid, box_of_mask
from oarseg.geometry.grid import Grid
from oarseg.geometry.volume import Volume
from oarseg.inference.sliding import in_windows
from oarseg.sites import Organ, Site

# Image (1, 1, D, H, W) to logits (1, C, D, H, W), both float32.
Network = Callable[[np.ndarray], np.ndarray]
# A piece smaller than this share of the organ's least plausible volume is noise, not the organ.
LEAST_SHARE = 0.1
# Of an organ that is seen in several pieces, what is smaller than this share of the largest is noise.
LEAST_PIECE = 0.02
NEIGHBOURS = np.ones((3, 3, 3), dtype=bool)


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
    """The class of each voxel, (D, H, W) uint8, of ``logits`` (C, D, H, W); the lower one of two equals."""
    winner = np.zeros(logits.shape[1:], np.uint8)
    # Class by class: argmax along the first axis was measured to take several times as long.
    best = logits[0].copy()
    for value, channel in enumerate(logits[1:], 1):
        winner[channel > best] = value
        np.maximum(best, channel, out=best)
    return winner


def _located(organ: Organ, logits: np.ndarray, mask: np.ndarray, place: tuple[slice, ...], grid: Grid) -> Located:
    """``mask``: the organ's piece within ``place`` of ``grid``."""
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
    """The largest 26-connected piece of a mask, as int8 (D, H, W)."""
    labels, count = ndimage.label(mask, structure=NEIGHBOURS)
    if count < 2:
        return (labels > 0).astype(np.int8)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return (labels == sizes.argmax()).astype(np.int8)


def pieces_of(organ: Organ, mask: np.ndarray) -> np.ndarray:
    """What of a mask is the organ, as int8 (D, H, W): the largest piece, or of one in several pieces all but noise."""
    if organ.one_piece:
        return largest_piece(mask)
    labels, _ = ndimage.label(mask, structure=NEIGHBOURS)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    keep = sizes >= LEAST_PIECE * sizes.max()
    keep[0] = False
    return keep[labels].astype(np.int8)


def keep_piece(probability: np.ndarray, piece: np.ndarray) -> np.ndarray:
    """``probability`` with all but ``piece`` and its neighbours zero, so that the 0.5 level keeps its shape."""
    return probability * ndimage.binary_dilation(piece > 0, structure=NEIGHBOURS)
