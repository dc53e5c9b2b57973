"""The two-stage bundle as an object: loaded once, asked often. The command line and the Python API go through it.

Neither PyTorch nor MONAI is imported where the bundle's compressed networks can be used: that alone would take longer
than to contour a CT.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from oarseg.checksum import FILE, sha256
from oarseg.geometry.box import Box
from oarseg.geometry.check_ct import check_ct
from oarseg.geometry.canvas import placed
from oarseg.geometry.volume import oblique_warnings
from oarseg.images.read import CtImage
from oarseg.inference.bundle import BUNDLE, read_bundle
from oarseg.inference.engines import Engine, StoredNetworks, make_engine, stored_networks
from oarseg.inference.engines.device import chosen_device
from oarseg.inference.engines.stored import FOLDER as COMPRESSED
from oarseg.inference.localize import Network
from oarseg.inference.report.measure import Measure, measure
from oarseg.inference.report.plausibility import implausibilities
from oarseg.inference.two_stage import LOCALIZER, TwoStageResult, chosen_organs, run_stages, stage_one

if TYPE_CHECKING:
    from monai.data import MetaTensor

    from oarseg.inference.configured import Configured
    from oarseg.networks import TwoStageNet

__all__ = ["BUNDLE", "Pipeline", "Segmentation"]


@dataclass(frozen=True)
class Segmentation:
    """``label`` uint8 on the image's own voxels and axis order, ``affine`` (4, 4) RAS mm.

    ``boxes``: enlarged stage-1 boxes by organ key, RAS mm, (2, 3) lowest and highest corner. ``missing``: why an organ
    was left out. ``seconds``: by step. ``measures``: volume, centroid and extent of what was found. ``warnings``: that
    an oblique CT was resampled, and what looks implausible.
    """

    label: npt.NDArray[np.uint8]
    affine: npt.NDArray[np.float64]
    boxes: dict[str, npt.NDArray[np.float64]]
    missing: dict[str, str]
    seconds: dict[str, float]
    measures: dict[str, Measure]
    warnings: list[str]


class Pipeline:
    """A two-stage bundle ready to segment.

    Args:
        bundle_root: folder of the bundle; the installed one by default.
        device: "auto" (CUDA where there is one), "cpu", "cuda" or "cuda:N".
        organs: keys to segment; all by default.
        engine: what computes: "auto", the quickest one here, "torch" (the reference, from float32 down to what is quick
            here), or "openvino" (see ``oarseg.inference.engines``); or an engine; None leaves the networks as they
            are.
    Attributes: ``networks``, "localizer" and the organs' by key, are functions of arrays; others may take their place.
    A bundle whose config has its own steps is run by the config (``configured``), with its modules (``network``).
    Raises WeightsError where the weights are missing or not the ones the bundle names, ConfigError for an unknown organ
    or device, or an engine that is not there.
    """

    def __init__(
        self,
        bundle_root: str | Path | None = None,
        device: str = "auto",
        organs: Sequence[str] | None = None,
        engine: str | Engine | None = "auto",
    ) -> None:
        self.bundle = read_bundle(bundle_root)
        self.bundle_root, self.site, self.weights = self.bundle.root, self.bundle.site, self.bundle.weights
        self.device = chosen_device(device)
        self.organs, self._keys = chosen_organs(self.site, organs), list(organs) if organs else None
        self.engine: Any = engine
        stored = None
        if isinstance(engine, str):
            if self.device == "cpu" and self.bundle.stock_steps:
                stored = stored_networks(engine, self.bundle_root, self.weights["sha256"], self.site)
            if stored is not None:
                # Needed for any organ, so that a damaged file is told of before a CT is looked at.
                stored[LOCALIZER].compile()
            self.engine = stored or make_engine(engine, self.device)
        self.networks: Mapping[str, Network] = stored if stored is not None else self._modules()

    def _modules(self) -> dict[str, Network]:
        from oarseg.inference.engines import ready_net
        from oarseg.inference.modules import array_networks

        # Kept for a config's own steps, which take a module.
        self._ready = self.network if self.engine is None else ready_net(self.engine, self.network)
        return array_networks(self._ready.localizer, dict(self._ready.organs.items()), self.device)

    @cached_property
    def network(self) -> TwoStageNet:
        """The bundle's networks as modules, in full precision, on the device."""
        from oarseg.inference.modules import load_modules

        return load_modules(self.bundle, self.device) if self.bundle.stock_steps else self.configured.network

    @cached_property
    def configured(self) -> Configured:
        """What the bundle's config builds by MONAI."""
        from oarseg.inference.configured import Configured

        return Configured(self.bundle, self.device, self._keys)

    @property
    def computed(self) -> dict[str, str]:
        """What computes, for the report: engine, precision, and which of the bundle's networks.

        Compressed ones are told by the SHA-256 of their list, which has that of each.
        """
        told = {"name": getattr(self.engine, "name", "torch"), "precision": getattr(self.engine, "precision", "fp32")}
        if isinstance(self.engine, StoredNetworks):
            return told | {"networks": COMPRESSED, "list_sha256": sha256(self.engine.table.path)}
        return told | {"networks": FILE}

    def segment(self, image: CtImage | MetaTensor, progress: Callable[[str], None] | None = None) -> Segmentation:
        """Contour a CT in any orientation and field of view.

        ``image``: a CtImage, or (1, i, j, k) in HU with a RAS affine. Raises InputError or GeometryError where it is no
        CT in HU.
        """
        hu, affine = _voxels(image)
        warnings: list[str] = []
        if self.bundle.stock_steps:
            label, result, axes = self._segment(hu, affine, progress)
            warnings += oblique_warnings(affine)
        else:
            label, result, axes = self.configured.segment(hu, affine, self._ready, progress)
        boxes = {key: _corners(box, axes) for key, box in result.boxes.items()}
        measures = measure(label, affine, self.site)
        warnings += implausibilities(measures, self.site)
        return Segmentation(label, affine, boxes, result.missing, result.seconds, measures, warnings)

    def _segment(
        self, hu: np.ndarray, affine: np.ndarray, progress: Callable[[str], None] | None
    ) -> tuple[np.ndarray, TwoStageResult, np.ndarray]:
        """Label map on the CT's voxels, result, and affine of its boxes."""
        label = np.zeros(hu.shape, np.uint8)
        volume, canvas, axes = placed(hu, affine, label)
        return label, run_stages(volume, self.networks, self.site, self.organs, progress, canvas), axes

    def stage_one(self, image: CtImage | MetaTensor) -> np.ndarray:
        """What stage 1 alone says: label values, uint8 on the image's own voxels and axis order."""
        hu, affine = _voxels(image)
        label = np.zeros(hu.shape, np.uint8)
        volume, canvas, _ = placed(hu, affine, label)
        stage_one(volume, self.networks[LOCALIZER], self.site, canvas)
        return label


def _voxels(image: CtImage | MetaTensor) -> tuple[np.ndarray, np.ndarray]:
    """HU (i, j, k) and affine (4, 4) of an image; what ``read_image`` did not read is checked here."""
    affine = np.array(image.affine, dtype=float)
    if isinstance(image, CtImage):
        return image.hu, affine
    hu = np.asarray(image)[0]
    check_ct(hu, affine)
    return hu, affine


def _corners(box: Box, affine: np.ndarray) -> np.ndarray:
    """Lowest and highest RAS mm of the eight corners of a box along the axes of ``affine``, (2, 3)."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    corners = np.array([[(box.low, box.high)[i >> a & 1][a] for a in range(3)] for i in range(8)])
    world = (corners / spacing - 0.5) @ affine[:3, :3].T + affine[:3, 3]
    return np.stack([world.min(axis=0), world.max(axis=0)])
