"""Images as MONAI takes them. Importing this needs PyTorch and MONAI."""

from __future__ import annotations

import numpy as np
import torch
from monai.data import MetaTensor


def meta_tensor(hu: np.ndarray, affine: np.ndarray) -> MetaTensor:
    """Return an image (i, j, k) with its RAS affine as a MetaTensor (1, i, j, k); the voxels are shared."""
    return MetaTensor(torch.from_numpy(hu)[None], affine=torch.as_tensor(np.asarray(affine), dtype=torch.float64))
