"""Where the patient is: the body's bounding box in a scaled CT."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

# -500 HU on the scale of eq. 3-2: between air and any tissue or immobilisation mask.
TISSUE = (-500 + 1000) / 1600
# A piece above or below the largest one is body too if it has this share of its voxels: missing tissue or a cut-out
# dose region may part head and trunk. What lies beside the largest piece, such as the couch, is not.
SHARE = 0.05

Slices = tuple[slice, slice, slice]


def body_slices(volume: np.ndarray, margin: int = 4) -> Slices:
    """Slices (D, H, W) around the body above -500 HU, ``margin`` voxels wider.

    ``volume`` (D, H, W), scaled to [0, 1] by eq. 3-2. The whole volume where nothing is above.
    """
    labels, count = ndimage.label(np.asarray(volume) > TISSUE)
    if count == 0:
        return tuple(slice(0, n) for n in volume.shape)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
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
