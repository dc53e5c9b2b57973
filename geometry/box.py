"""Boxes around organs and around the body, in the millimetres of :mod:`oarseg.geometry.grid` (D, H, W order)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from oarseg.geometry.grid import Grid, Triple, resample
from oarseg.geometry.label_map import bounding_box

# -500 HU on the scale of eq. 3-2: between air and any tissue or immobilisation mask.
TISSUE = (-500 + 1000) / 1600
# A piece above or below the largest one is body too if it has this share of its voxels: missing tissue or a cut-out
# dose region may part head and trunk. What lies beside the largest piece, such as the couch, is not.
SHARE = 0.05

Slices = tuple[slice, slice, slice]


@dataclass(frozen=True)
class Box:
    """From corner ``low`` to corner ``high``, mm."""

    low: Triple
    high: Triple

    @property
    def size(self) -> Triple:
        return tuple(b - a for a, b in zip(self.low, self.high, strict=True))

    @property
    def centre(self) -> Triple:
        return tuple((a + b) / 2 for a, b in zip(self.low, self.high, strict=True))

    def enlarged(self, margin: Triple, field: Triple) -> Box:
        """Return the box that stage 2 sees: ``margin`` mm more on each side, and at least ``field`` mm in size.

        The field is the rule and the margin the exception: nearly every organ is seen at the scale the network was
        trained at, and only a box too large for the field is shown at a smaller one.
        """
        half = [max(s + 2 * m, f) / 2 for s, m, f in zip(self.size, margin, field, strict=True)]
        low = tuple(c - h for c, h in zip(self.centre, half, strict=True))
        high = tuple(c + h for c, h in zip(self.centre, half, strict=True))
        return Box(low, high)

    def jittered(self, jitter: float, random: np.random.RandomState) -> Box:
        """Return the box with each face moved by up to ``jitter`` mm, as stage 1 would place it; never inside out."""
        low = [a + d for a, d in zip(self.low, random.uniform(-jitter, jitter, 3), strict=True)]
        high = [b + d for b, d in zip(self.high, random.uniform(-jitter, jitter, 3), strict=True)]
        return Box(
            tuple(min(a, b - 1) for a, b in zip(low, high, strict=True)),
            tuple(max(b, a + 1) for a, b in zip(low, high, strict=True)),
        )

    def grid(self, shape: tuple[int, int, int]) -> Grid:
        """Return the box divided into ``shape`` voxels."""
        return Grid(self.low, tuple(s / n for s, n in zip(self.size, shape, strict=True)), tuple(shape))


def box_of_mask(mask: np.ndarray, grid: Grid) -> Box | None:
    """Return the tight box around the non-zero voxels of ``mask`` (D, H, W) on ``grid``; None if there are none."""
    if (found := bounding_box(np.asarray(mask))) is None:
        return None
    ends = [tuple(s.start for s in found), tuple(s.stop for s in found)]
    low, high = (
        tuple(float(o + i * s) for o, i, s in zip(grid.origin, end, grid.spacing, strict=True)) for end in ends
    )
    return Box(low, high)


def standard_grid(image: Grid, spacing: Sequence[float]) -> Grid:
    """Return a grid over all of ``image`` at constant spacing (eqs 3-6, 3-7: size_in x spacing_in / spacing_const)."""
    shape = tuple(max(1, int(np.ceil(e / s - 1e-6))) for e, s in zip(image.extent, spacing, strict=True))
    return Grid(image.origin, tuple(float(s) for s in spacing), shape)


def body_grid(
    volume: np.ndarray, image: Grid, spacing: Sequence[float], values: Callable | None = None
) -> tuple[np.ndarray, Grid]:
    """Return ``volume`` (1, D, H, W), which lies on ``image``, at ``spacing`` mm and cropped to the body.

    Args: ``values``: scales a slice by eq. 3-2, if ``volume`` is not scaled yet (see ``resample``).
    Returns the resampled crop (1, d, h, w), float32, and its grid. However far the scan reaches, nothing is squeezed: a
    long scan gives a long crop.
    """
    whole = standard_grid(image, spacing)
    resampled = resample(volume, image, whole, values=values)
    box = body_slices(resampled[0])
    crop = whole.crop(tuple(s.start for s in box), tuple(s.stop for s in box))
    return np.ascontiguousarray(resampled[(slice(None), *box)]), crop


def body_slices(volume: np.ndarray, margin: int = 4) -> Slices:
    """Return the slices (D, H, W) around the body above -500 HU, ``margin`` voxels wider.

    ``volume`` (D, H, W), scaled to [0, 1] by eq. 3-2. The whole volume where nothing is above.
    """
    tissue = np.asarray(volume) > TISSUE
    labels, count = ndimage.label(tissue)
    if count == 0:
        return tuple(slice(0, n) for n in volume.shape)
    sizes = np.bincount(labels[tissue], minlength=count + 1)[1:]
    boxes = ndimage.find_objects(labels)
    largest = int(sizes.argmax())
    body = [boxes[largest]] + [
        box
        for box, size in zip(boxes, sizes, strict=True)
        if size >= SHARE * sizes[largest] and _apart(box[0], boxes[largest][0])
    ]
    return tuple(
        slice(max(0, min(b[axis].start for b in body) - margin), min(n, max(b[axis].stop for b in body) + margin))
        for axis, n in enumerate(volume.shape)
    )


def _apart(piece: slice, body: slice) -> bool:
    """Whether most of a piece's range of slices lies beyond the body's."""
    shared = min(piece.stop, body.stop) - max(piece.start, body.start)
    return shared < (piece.stop - piece.start) / 2
