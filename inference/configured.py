"""A two-stage bundle as its config has it, built by MONAI: for configs that are not the template's.

Also for code that wants a bundle's parts as modules and transforms.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import numpy as np
from monai.bundle import ConfigParser
from monai.transforms import Compose
from torch import nn

from oarseg.errors import ConfigError
from oarseg.geometry.volume import on_axes_of
from oarseg.images.tensors import meta_tensor
from oarseg.inference.bundle import BUNDLE, CONFIG, METADATA, Bundle
from oarseg.inference.inferers import TwoStageInferer
from oarseg.inference.two_stage import TwoStageResult
from oarseg.networks import TwoStageNet
from oarseg.training.weights import load_weights


class Configured:
    """What the pipeline takes from a bundle's config.

    ``network``: with weights, on the device, in evaluation mode. ``prepare``: the preprocessing after reading, a
    dictionary transform of "image". ``inferer``: a TwoStageInferer. Raises ConfigError where the bundle has no such.
    """

    def __init__(self, bundle: Bundle, device: str, organs: Sequence[str] | None = None) -> None:
        logging.getLogger("monai.bundle").setLevel(logging.WARNING)
        parser = ConfigParser()
        try:
            parser.read_config(str(bundle.root / CONFIG))
            parser.read_meta(str(bundle.root / METADATA))
        except (OSError, ValueError) as error:
            raise ConfigError(f"{bundle.root} is not a whole bundle: {error}") from error
        parser["bundle_root"], parser["device"] = str(bundle.root), device
        parser["organs"] = list(organs) if organs else parser.get("organs")
        self.site = parser.get_parsed_content("site")
        self.network: TwoStageNet = parser.get_parsed_content("network").eval()
        self.inferer = parser.get_parsed_content("inferer")
        if not isinstance(self.inferer, TwoStageInferer) or not isinstance(self.network, TwoStageNet):
            raise ConfigError(f"{bundle.root.name} is no two-stage bundle; give one such as {BUNDLE}")
        load_weights(self.network, bundle.weight_file)
        # Reading is the caller's: it knows which series. Everything after it is the bundle's own.
        self.prepare = Compose(parser.get_parsed_content("preprocessing").transforms[2:])
        self.device = device

    def segment(
        self,
        hu: np.ndarray,
        affine: np.ndarray,
        network: nn.Module,
        progress: Callable[[str], None] | None = None,
    ) -> tuple[np.ndarray, TwoStageResult, np.ndarray]:
        """Contour ``hu`` (i, j, k) with ``network``, ``self.network`` or an engine's form of it.

        Returns the label map on the voxels of ``hu``, the result, and the affine of its boxes.
        """
        # Floats, as the bundle's LoadImaged gives: MONAI's scaling of int16 overflows near its end, where metal is.
        prepared = self.prepare({"image": meta_tensor(hu.astype(np.float32), affine)})["image"]
        result = self.inferer.segment(prepared[None].to(self.device), network, progress)
        label = on_axes_of(affine, result.label, prepared.affine)
        return label, result, np.asarray(prepared.affine, dtype=float)
