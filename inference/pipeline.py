"""The two-stage bundle as an object: loaded once, asked often. The command line and the Python API go through it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.transforms import Compose, Orientation
from torch import Tensor, nn

from oarseg.bundles import FOLDER
from oarseg.errors import ConfigError, WeightsError
from oarseg.inference.measure import Measure, measure
from oarseg.inference.plausibility import implausibilities
from oarseg.inference.two_stage import TwoStageInferer
from oarseg.networks.two_stage import localizer_net
from oarseg.sites import Site, load_site
from oarseg.training.weights import load_weights, verified
from oarseg.transforms import Box

BUNDLE = "hn_ct_two_stage"


@dataclass(frozen=True)
class Segmentation:
    """``label`` uint8 on the image's own voxels and axis order, ``affine`` (4, 4) RAS mm.

    ``boxes``: enlarged stage-1 boxes by organ key, RAS mm, (2, 3) lowest and highest corner. ``missing``: why an organ
    was left out. ``seconds``: by step. ``measures``: volume, centroid and extent of what was found. ``warnings``: what
    looks implausible.
    """

    label: np.ndarray
    affine: np.ndarray
    boxes: dict[str, np.ndarray]
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
    Raises WeightsError where the weights are missing or not the ones the bundle names, ConfigError for an unknown organ
    or device.
    """

    def __init__(
        self, bundle_root: str | None = None, device: str = "auto", organs: Sequence[str] | None = None
    ) -> None:
        self.bundle_root = Path(bundle_root) if bundle_root else FOLDER / BUNDLE
        self.device = _device(device)
        parser = _parser(self.bundle_root)
        parser["device"] = str(self.device)
        parser["organs"] = list(organs) if organs else None
        path, checksum = verified(self.bundle_root)
        self.site: Site = parser.get_parsed_content("site")
        self.network: nn.Module = parser.get_parsed_content("network").eval()
        load_weights(self.network, path)
        self.inferer = parser.get_parsed_content("inferer")
        if not isinstance(self.inferer, TwoStageInferer):
            raise ConfigError(f"{self.bundle_root.name} is no two-stage bundle; give one such as {BUNDLE}")
        # Reading is the caller's: it knows which series. Everything after it is the bundle's own.
        self.prepare = Compose(parser.get_parsed_content("preprocessing").transforms[2:])
        version = parser.get_parsed_content("_meta_::version")
        self.weights = {"bundle": self.bundle_root.name, "version": version, "file": path.name, "sha256": checksum}

    def segment(self, image: MetaTensor, progress: Callable[[str], None] | None = None) -> Segmentation:
        """Contour a CT: ``image`` (1, i, j, k) in HU with a RAS affine, in any orientation and field of view."""
        affine = np.asarray(image.affine, dtype=float).copy()
        (progress or (lambda step: None))("preparing the image")
        prepared = self.prepare({"image": image})["image"]
        result = self.inferer.segment(prepared[None].to(self.device), self.network, progress)
        boxes = {key: _corners(box, prepared) for key, box in result.boxes.items()}
        label = on_axes_of(affine, result.label, prepared)
        measures = measure(label, affine, self.site)
        warnings = implausibilities(measures, self.site)
        return Segmentation(label, affine, boxes, result.missing, result.seconds, measures, warnings)


def on_axes_of(affine: np.ndarray, label: Tensor, prepared: MetaTensor) -> np.ndarray:
    """``label`` (D, H, W) on the voxels of ``prepared``, with the axes of ``affine`` (4, 4)."""
    codes = "".join(nib.aff2axcodes(affine))
    turned = Orientation(axcodes=codes, labels=None)(MetaTensor(label[None].cpu(), affine=prepared.affine))
    return turned.as_tensor()[0].numpy()


def load_localizer(bundle_root: str, device: torch.device | str) -> nn.Module:
    """The localizer of a bundle folder with its weights, for an organ's bundle that has boxes from nowhere else.

    Raises WeightsError where it does not lie there.
    """
    folder = Path(bundle_root)
    if not (folder / "configs" / "site.json").is_file():
        raise WeightsError(f"no localizer bundle at {folder}; put hn_ct_localizer there, or set localizer_root")
    site = load_site(str(folder / "configs" / "site.json"))
    network = localizer_net(site)
    load_weights(network, verified(folder)[0])
    return network.to(device=device, memory_format=torch.channels_last_3d).eval()


def _parser(bundle_root: Path) -> ConfigParser:
    config = bundle_root / "configs" / "inference.json"
    if not config.is_file():
        raise ConfigError(f"{bundle_root} is not a bundle: it has no configs/inference.json")
    logging.getLogger("monai.bundle").setLevel(logging.WARNING)
    parser = ConfigParser()
    try:
        parser.read_config(str(config))
        parser.read_meta(str(bundle_root / "configs" / "metadata.json"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{bundle_root} is not a whole bundle: {error}") from error
    parser["bundle_root"] = str(bundle_root)
    return parser


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"unknown device {name!r}; use auto, cpu, cuda or cuda:N") from error
    if device.type == "cuda" and not (torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count()):
        raise ConfigError(f"device {name!r} is not there; this machine has {torch.cuda.device_count()} CUDA devices")
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"unknown device {name!r}; use auto, cpu, cuda or cuda:N")
    return device


def _corners(box: Box, image: MetaTensor) -> np.ndarray:
    """Lowest and highest RAS mm of the box's eight corners, (2, 3)."""
    affine = np.asarray(image.affine, dtype=float)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    corners = np.array([[(box.low, box.high)[i >> a & 1][a] for a in range(3)] for i in range(8)])
    world = (corners / spacing - 0.5) @ affine[:3, :3].T + affine[:3, 3]
    return np.stack([world.min(axis=0), world.max(axis=0)])
