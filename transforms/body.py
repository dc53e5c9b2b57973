"""Where the patient is: the body's bounding box in a scaled CT."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

# -500 HU on the scale of eq. 3-2: between air and any tissue or immobilisation mask.
TISSUE = (-500 + 1000) / 1600


def body_slices(volume: np.ndarray, margin: int = 4) -> tuple[slice, slice, slice]:
    """Slices (D, H, W) of the largest connected piece above -500 HU, ``margin`` voxels wider.

    ``volume`` (D, H, W), scaled to [0, 1] by eq. 3-2. The whole volume where nothing is above.
    """
    labels, count = ndimage.label(np.asarray(volume) > TISSUE)
    if count == 0:
        return tuple(slice(0, n) for n in volume.shape)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    box = ndimage.find_objects(labels, max_label=int(sizes.argmax()))[int(sizes.argmax()) - 1]
    return tuple(
        slice(max(0, s.start - margin), min(n, s.stop + margin)) for s, n in zip(box, volume.shape, strict=True)
    )
