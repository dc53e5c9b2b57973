"""Where the patient is: the body's bounding box in a scaled CT, and what stage 1 sees of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy import ndimage

from oarseg.geometry.grid import Grid, resample

# -500 HU on the scale of eq. 3-2: between air and any tissue or immobilisation mask.
TISSUE = (-500 + 1000) / 1600
# A piece above or below the largest one is body too if it has this share of its voxels: missing tissue or a cut-out
# dose region may part head and trunk. What lies beside the largest piece, such as the couch, is not.
SHARE = 0.05

Slices = tuple[slice, slice, slice]


def standard_grid(image: Grid, spacing: Sequence[float]) -> Grid:
    """The grid over the whole of ``image`` at constant spacing (eqs 3-6, 3-7: size_in x spacing_in / spacing_const)."""
    shape = tuple(max(1, int(np.ceil(e / s - 1e-6))) for e, s in zip(image.extent, spacing, strict=True))
    return Grid(image.origin, tuple(float(s) for s in spacing), shape)


def body_grid(
    volume: np.ndarray, image: Grid, spacing: Sequence[float], values: Callable | None = None
) -> tuple[np.ndarray, Grid]:
    """``volume`` (1, D, H, W) on ``image``, at ``spacing`` mm and cropped to the body.

    Args: ``values``: scales a slice by eq. 3-2, where ``volume`` is not scaled yet (see ``resample``).
    Returns the resampled crop (1, d, h, w), float32, and its grid. However far the scan reaches, nothing is squeezed: a
    long scan gives a long crop.
    """
    whole = standard_grid(image, spacing)
    resampled = resample(volume, image, whole, values=values)
    box = body_slices(resampled[0])
    crop = whole.crop(tuple(s.start for s in box), tuple(s.stop for s in box))
    return np.ascontiguousarray(resampled[(slice(None), *box)]), crop


def body_slices(volume: np.ndarray, margin: int = 4) -> Slices:
    """Slices (D, H, W) around the body above -500 HU, ``margin`` voxels wider.

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
