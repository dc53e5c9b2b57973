"""The two-stage bundle as an object: loaded once, used for many CTs. The command line and the Python API use it.

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
from oarseg.geometry.affine import corner_points, voxel_spacing
from oarseg.geometry.box import Box
from oarseg.geometry.canvas import placed
from oarseg.geometry.check_ct import check_ct
from oarseg.geometry.volume import oblique_warnings
from oarseg.images.read import CtImage
from oarseg.inference.bundle import BUNDLE, read_bundle
from oarseg.inference.engines import Engine, StoredNetworks, make_engine, stored_networks
from oarseg.inference.engines.choose import chosen_device
from oarseg.inference.engines.stored import FOLDER as COMPRESSED
from oarseg.inference.localize import Network
from oarseg.inference.report.content import Measure, implausibilities, measure
from oarseg.inference.two_stage import LOCALIZER, chosen_organs, run_stages, stage_one

if TYPE_CHECKING:
    from monai.data import MetaTensor

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
        organs: keys or TG-263 names of the organs to segment; all by default.
        engine: what computes: "auto", the quickest one here, "torch" (the reference, from float32 down to what is quick
            here), or "openvino" (see ``oarseg.inference.engines``); or an engine; None leaves the networks as they
            are.
    Attributes: ``networks``, "localizer" and the organs' by key, are functions of arrays; others may take their place.
    Raises WeightsError if the weights are missing or not the ones that the bundle names, ConfigError for a bundle with
    a method of its own (see ``oarseg.inference.bundle``), an unknown organ or device, or an engine that is not there.
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
        self.organs = chosen_organs(self.site, organs)
        self.engine: Any = engine
        stored = None
        if isinstance(engine, str):
            if self.device == "cpu":
                stored = stored_networks(engine, self.bundle_root, self.weights["sha256"], self.site)
            if stored is not None:
                # Every organ needs it, so that a damaged file is reported before a CT is looked at.
                stored[LOCALIZER].compile()
            self.engine = stored or make_engine(engine, self.device)
        self.networks: Mapping[str, Network] = stored if stored is not None else self._modules()

    def _modules(self) -> dict[str, Network]:
        from oarseg.inference.engines import ready_net
        from oarseg.inference.modules import array_networks

        ready = self.network if self.engine is None else ready_net(self.engine, self.network)
        return array_networks(ready.localizer, dict(ready.organs.items()), self.device)

    @cached_property
    def network(self) -> TwoStageNet:
        """The bundle's networks as modules, in full precision, on the device."""
        from oarseg.inference.modules import load_modules

        return load_modules(self.bundle, self.device)

    @property
    def computed(self) -> dict[str, str]:
        """What computes, for the report: engine, precision, and which of the bundle's networks.

        Compressed networks are identified by the SHA-256 of their list, which has that of each.
        """
        engine = {"name": getattr(self.engine, "name", "torch"), "precision": getattr(self.engine, "precision", "fp32")}
        if isinstance(self.engine, StoredNetworks):
            return engine | {"networks": COMPRESSED, "list_sha256": sha256(self.engine.table.path)}
        return engine | {"networks": FILE}

    def segment(self, image: CtImage | MetaTensor, progress: Callable[[str], None] | None = None) -> Segmentation:
        """Contour a CT in any orientation and field of view.

        ``image``: a CtImage, or (1, i, j, k) in HU with a RAS affine. Raises InputError or GeometryError if it is no
        CT in HU.
        """
        hu, affine = _voxels(image)
        label = np.zeros(hu.shape, np.uint8)
        volume, canvas, axes = placed(hu, affine, label)
        result = run_stages(volume, self.networks, self.site, self.organs, progress, canvas)
        boxes = {key: _corners(box, axes) for key, box in result.boxes.items()}
        measures = measure(label, affine, self.site)
        warnings = oblique_warnings(affine) + implausibilities(measures, self.site)
        return Segmentation(label, affine, boxes, result.missing, result.seconds, measures, warnings)

    def stage_one(self, image: CtImage | MetaTensor) -> np.ndarray:
        """Return what stage 1 alone finds: label values, uint8 on the image's own voxels and axis order."""
        hu, affine = _voxels(image)
        label = np.zeros(hu.shape, np.uint8)
        volume, canvas, _ = placed(hu, affine, label)
        stage_one(volume, self.networks[LOCALIZER], self.site, canvas)
        return label


def _voxels(image: CtImage | MetaTensor) -> tuple[np.ndarray, np.ndarray]:
    """Return HU (i, j, k) and affine (4, 4) of an image; a tensor, which ``read_image`` did not read, is checked."""
    affine = np.array(image.affine, dtype=float)
    if isinstance(image, CtImage):
        return image.hu, affine
    hu = np.asarray(image)[0]
    check_ct(hu, affine)
    return hu, affine


def _corners(box: Box, affine: np.ndarray) -> np.ndarray:
    """Return the lowest and highest RAS mm of the eight corners of a box along the axes of ``affine``, (2, 3)."""
    low, high = (np.asarray(end) / voxel_spacing(affine) - 0.5 for end in (box.low, box.high))
    points = corner_points(affine, low, high)
    return np.stack([points.min(axis=0), points.max(axis=0)])
