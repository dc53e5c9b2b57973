"""Segments the validation cases with what a row has trained, and scores them as everything else is scored."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import numpy.typing as npt
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.inferers import Inferer
from monai.transforms import Compose, LoadImage
from torch import nn

from experiments.ablation.plan import Plan, Row
from experiments.ablation.train import trained
from experiments.peers.shared import SharedUNets
from oarseg.datasets import load_datalist
from oarseg.datasets.datalist import case_name
from oarseg.errors import GeometryError
from oarseg.evaluation.cases import score_case
from oarseg.inference import LocalizerInferer, TwoStageInferer
from oarseg.networks import TwoStageNet
from oarseg.sites import load_site
from oarseg.training import mirrored


def predictor(row: Row, plan: Plan, work_dir: Path, bundles: Path, device: torch.device) -> tuple[Inferer, nn.Module]:
    """The inferer and the network of a trained row: stage 1 alone, or both stages."""
    first = plan.rows[row.localizer or row.name].trainings["localizer"]
    site = load_site(str(bundles / first.bundle / "configs" / "site.json"))
    localizer = trained(first, work_dir, bundles)
    if row.localizer is None:
        return LocalizerInferer(site), _placed(localizer, device)
    organs: dict[str, nn.Module] = {}
    for key, part in row.trainings.items():
        network = trained(part, work_dir, bundles)
        organs |= network.views() if isinstance(network, SharedUNets) else {key: network}
    for key in [key for key in organs if site.organ(key).mirror]:
        twin = site.organ(key).mirror
        if twin not in organs:
            # One network serves both sides, as in the shipped bundles.
            organs[twin] = trained(row.trainings[key], work_dir, bundles)
            organs[twin].load_state_dict(mirrored(organs[key].state_dict()))
    return TwoStageInferer(site, list(organs)), _placed(TwoStageNet(localizer, organs), device)


def _placed(network: nn.Module, device: torch.device) -> nn.Module:
    return network.to(device=device, memory_format=torch.channels_last_3d).eval()


@torch.no_grad()
def scores(
    row: Row, plan: Plan, dataset_dir: Path, work_dir: Path, bundles: Path, device: torch.device
) -> Iterator[list[dict]]:
    """Rows of scores case by case, on the original grid; expert and clinical labels of the validation cases only.

    A row that trains some organs' networks is scored on these organs alone.
    """
    inferer, network = predictor(row, plan, work_dir, bundles, device)
    bundle = plan.rows[row.localizer or row.name].trainings["localizer"].bundle
    prepare, site = _preprocessing(bundles / bundle), inferer.site
    trained_organs = {organ.key for organ in getattr(inferer, "organs", site.organs)}
    for case in load_datalist(dataset_dir, "validation"):
        labelled = [key for key in case["labelled"] if key in trained_organs]
        if not labelled:
            continue
        image = LoadImage(image_only=True, ensure_channel_first=True)(case["image"])
        reference = nib.load(case["label"])
        if reference.shape != tuple(image.shape[1:]) or not np.allclose(reference.affine, image.affine, atol=1e-3):
            raise GeometryError(f"{Path(case['label']).name}: labels lie on another grid than the image")
        label = _segment(image, prepare, inferer, network, device)
        name = case_name(case["image"])
        yield score_case(name, label, np.asarray(reference.dataobj), reference.affine, labelled, site)[0]


def _segment(
    image: MetaTensor, prepare: Compose, inferer: Inferer, network: nn.Module, device: torch.device
) -> np.ndarray:
    """Label map on the image's own voxels and axis order."""
    affine = np.asarray(image.affine, dtype=float).copy()
    prepared = prepare({"image": image})["image"]
    label = inferer(prepared[None].to(device), network)
    return on_axes_of(affine, label[0, 0].as_tensor().cpu(), prepared.affine)


def on_axes_of(affine: npt.ArrayLike, label: npt.ArrayLike, label_affine: npt.ArrayLike) -> np.ndarray:
    """Return ``label`` (D, H, W), which has ``label_affine`` (4, 4), with its axes in the order of ``affine``."""
    there, here = (nib.io_orientation(np.asarray(a, dtype=float)) for a in (affine, label_affine))
    return nib.orientations.apply_orientation(np.asarray(label), nib.orientations.ornt_transform(here, there))


def _preprocessing(bundle: Path) -> Compose:
    """The bundle's own preprocessing, without reading, which is done here."""
    parser = ConfigParser()
    parser.read_config(str(bundle / "configs" / "inference.json"))
    return Compose(parser.get_parsed_content("preprocessing").transforms[2:])
