"""Batches on the device that the network computes on: moved there, augmented there, convolved quickly."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from monai.engines.utils import default_prepare_batch
from monai.transforms import Compose, RandAffined
from torch import Tensor


class AugmentOnDevice:
    """``prepare_batch`` of a trainer that applies random transforms where the network computes, sample by sample.

    Args: ``transforms``: dictionary transforms of "image" and "label"; none to pass the batch on as it is, as on a CPU,
    where the loader's processes apply them. The first belong to the loader in any case: those that need the file's
    geometry, and give samples of one size.
    Returns image and label, (B, C, D, H, W), on the device.
    """

    def __init__(self, transforms: Sequence[Callable] = ()) -> None:
        self.transforms = Compose(list(transforms)) if transforms else None

    def __call__(
        self, batch: Mapping[str, Tensor], device: torch.device, non_blocking: bool = False, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        image, label = default_prepare_batch(batch, device, non_blocking, **kwargs)
        if self.transforms is None:
            return image, label
        samples = [self.transforms({"image": i, "label": o}) for i, o in zip(image, label, strict=True)]
        return tuple(torch.stack([sample[key] for sample in samples]) for key in ("image", "label"))


def prepare_staged_batch(batch: Mapping, device: torch.device, non_blocking: bool = False, **kwargs: object) -> tuple:
    """Prepare a sample of :class:`oarseg.transforms.RandStaged` for a :class:`oarseg.networks.TwoStageNet`.

    Returns image, target, and the arguments that make the network run the drawn part.
    """
    organ = batch["organ"][0] or None
    image, label = (batch[key].to(device=device, non_blocking=non_blocking) for key in ("image", "label"))
    return image, label, (), {"organ": organ}


def host_share(transforms: Sequence[Callable], device: torch.device | str) -> int:
    """Return how many random transforms the loader applies: all, or on CUDA those before ``RandAffined``.

    What comes before it needs the file's geometry; it and what follows are quicker where the network computes.
    """
    affine = [i for i, transform in enumerate(transforms) if isinstance(transform, RandAffined)]
    return affine[0] if affine and torch.device(device).type == "cuda" else len(transforms)


def quick_convolutions(device: torch.device | str) -> None:
    """On CUDA, let cuDNN try its algorithms and keep the quickest; runs then differ in the last bits.

    MONAI's ``set_determinism`` sets reproducible ones, which take several times as long.
    """
    if torch.device(device).type == "cuda":
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = False, True
