"""A site other than head and neck, trained for two steps and used: organs that end with the scan, in two sides, in air.

The patient is a chest that is mirrored nowhere: the heart is on the left, the right lung larger, and the spinal cord
runs out of the scan at both ends.
"""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from monai.engines.utils import IterationEvents
from monai.transforms import Compose
from site_tables import table_text
from torch import nn

from oarseg.bundles.render import sync
from oarseg.cli import main
from oarseg.networks import TwoStageNet
from oarseg.sites import Site, load_site
from oarseg.sites.table import FOLDER
from oarseg.training import read_state
from oarseg.training.weights import FILE

pytestmark = pytest.mark.slow

# RAS mm: middle of the chest; offsets towards left, posterior, superior, and half axes (None: through all slices).
CENTRE = np.array([-15.0, 30.0, 200.0])
BODY = ((0, 0, 0), (170, 115, None))
ORGANS = {
    1: ((6, 75, 0), (14, 14, None)),
    2: ((85, 0, 10), (42, 66, 84)),
    3: ((-80, 0, 16), (60, 75, 96)),
    4: ((18, -40, -40), (36, 30, 45)),
    5: ((-2, 46, 20), (14, 14, 90)),
}
NAMES = {1: "spinal_cord", 2: "lung_left", 3: "lung_right", 4: "heart", 5: "oesophagus"}
LUNGS = (2, 3)
DIRECTIONS = {
    "lps": (np.diag([-5.0, -5, 5]), (74, 52, 44)),
    "ras": (np.diag([5.0, 5, 5]), (74, 52, 44)),
    "ipr": (np.array([[0, 0, 5.0], [0, -5, 0], [-5, 0, 0]]), (44, 52, 74)),
}


def draw(matrix: np.ndarray, shape: tuple[int, ...], hu_step: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """HU (organ v has v * ``hu_step``, lungs -800 where it is 0), label map, and RAS affine."""
    affine = np.eye(4)
    affine[:3, :3] = matrix
    # Well off the scan's middle from left to right and front to back, not along it: the cord spans it all.
    affine[:3, 3] = CENTRE + [9, -6, 0] - matrix @ ((np.array(shape) - 1) / 2)
    ras = np.moveaxis(np.indices(shape), 0, -1) @ affine[:3, :3].T + affine[:3, 3]
    lps = (ras - CENTRE) * [-1, -1, 1]

    def inside(middle: tuple, axes: tuple) -> np.ndarray:
        offset = (lps - middle) / np.array([a or np.inf for a in axes])
        return (offset**2).sum(-1) <= 1

    hu, label = np.full(shape, -1000, np.int16), np.zeros(shape, np.uint8)
    hu[inside(*BODY)] = 0
    for value, place in ORGANS.items():
        label[inside(*place)] = value
        hu[label == value] = value * hu_step if hu_step else (-800 if value in LUNGS else 120 * (value % 3))
    return hu, label, affine


@pytest.fixture(scope="module")
def small_site(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Site]:
    """A user's own table: the thorax' with narrow networks on coarse grids."""
    raw = json.loads((FOLDER / "thorax.json").read_text(encoding="utf-8"))
    raw |= {"site": "chest", "prefix": "chest_ct", "organ_bundles": "chest_{key}_ct_segmentation"}
    raw["localizer"] |= {"spacing_mm": [5, 5, 5], "train_crop": [24, 32, 32], "base_width": 2}
    for row in raw["organs"]:
        # The phantom's oesophagus is wider than a patient's and its lungs smaller.
        row |= {"base_width": 2, "volume_cm3": [5, 2400]} | {"grid": [max(16, n // 16 * 8) for n in row["grid"]]}
    path = tmp_path_factory.mktemp("table") / "chest.json"
    path.write_text(table_text(raw), encoding="utf-8")
    return path, load_site(str(path))


@pytest.fixture
def root(small_site: tuple[Path, Site], tmp_path: Path) -> Path:
    sync(small_site[1], tmp_path / "bundles")
    return tmp_path / "bundles"


@pytest.fixture(scope="module")
def chests(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A datalist of two training cases and a validation case; the second labels no heart and only one lung."""
    folder = tmp_path_factory.mktemp("chests")
    every = list(NAMES.values())
    cases = {"a": every, "b": ["spinal_cord", "lung_right"], "c": every}
    content: dict = {"training": [], "validation": []}
    for case, labelled in cases.items():
        hu, label, affine = draw(*DIRECTIONS["lps"], hu_step=0)
        label = label * np.isin(label, [value for value, key in NAMES.items() if key in labelled])
        for kind, array in (("images", hu), ("labels", label.astype(np.uint8))):
            (folder / kind).mkdir(exist_ok=True)
            nib.save(nib.Nifti1Image(array, affine), folder / kind / f"{case}.nii.gz")
        row = {"image": f"images/{case}.nii.gz", "label": f"labels/{case}.nii.gz", "labelled": labelled}
        content["validation" if case == "c" else "training"].append(row)
    (folder / "dataset.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


@pytest.mark.parametrize("bundle", ["chest_ct_localizer", "chest_lung_left_ct_segmentation"])
def test_trains_and_its_weights_are_installed(
    bundle: str, root: Path, chests: Path, workflow, tmp_path: Path, small_site: tuple[Path, Site]
) -> None:
    losses: list[float] = []
    flow = workflow(
        "train", root / bundle, "train.json", dataset_dir=str(chests), output_dir=str(tmp_path / "run"), steps=2,
        batch_size=1, val_interval=1, **{f"{part}#dataset#num_workers": 0 for part in ("train", "validate")},
    )  # fmt: skip
    flow.initialize()
    assert flow.check_properties() == []
    flow.trainer.add_event_handler(
        IterationEvents.LOSS_COMPLETED, lambda engine: losses.append(engine.state.output["loss"].item())
    )
    flow.run()
    flow.finalize()
    # On an asymmetric site a case that labels the right lung only is none for the left one's network.
    assert len(flow.train_dataset) == (2 if bundle == "chest_ct_localizer" else 1)
    assert len(losses) == 2 and np.isfinite(losses).all()
    score = flow.parser.get_parsed_content("validate::evaluator").state.metrics["val_mean_dice"]
    assert 0 <= score <= 1
    assert read_state(tmp_path / "run/model.pt")["head.weight"].shape[0] == (6 if "localizer" in bundle else 2)
    command = ["bundles", "weights", bundle, str(tmp_path / "run/model.pt")]
    assert main([*command, "--site", str(small_site[0]), "--root", str(root)]) == 0
    assert (root / bundle / FILE).is_file()


def test_crops_are_drawn_around_organs_of_air(root: Path, chests: Path, workflow, tmp_path: Path) -> None:
    """Lungs are darker than tissue, in which the head-and-neck localizer draws its crops."""
    flow = workflow(
        "train", root / "chest_ct_localizer", "train.json", dataset_dir=str(chests), output_dir=str(tmp_path),
        steps=2, batch_size=1, **{f"{part}#dataset#num_workers": 0 for part in ("train", "validate")},
    )  # fmt: skip
    flow.initialize()
    ids = ("train::deterministic_transforms", "train::cached_transforms")
    prepare = Compose([one for name in ids for one in flow.parser.get_parsed_content(name)])
    case = flow.parser.get_parsed_content("train::dataset::data")[0]
    drawn_from = {NAMES.get(value, "none"): len(i) for value, i in enumerate(prepare(case)["label_cls_indices"])}
    assert min(drawn_from["lung_left"], drawn_from["lung_right"]) == 2000, drawn_from
    assert all(drawn_from.values())


class Remembered(TwoStageNet):
    """A stand-in with known answers, that takes no weights."""

    def __init__(self, phantom, site: Site) -> None:
        values = [organ.value for organ in site.organs]
        super().__init__(phantom.ByIntensity(values), {o.key: phantom.ByIntensity([o.value]) for o in site.organs})


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_organs_land_where_they_are(
    direction: str, root: Path, workflow, tmp_path: Path, small_site: tuple[Path, Site], phantom
) -> None:
    """The two-stage bundle's own config, from file to file, with networks that know the phantom."""
    site = small_site[1]
    hu, label, affine = draw(*DIRECTIONS[direction], hu_step=phantom.hu_step)
    (tmp_path / "images").mkdir()
    nib.save(nib.Nifti1Image(hu, affine), tmp_path / "images/chest.nii.gz")
    network: nn.Module = Remembered(phantom, site)
    flow = workflow(
        "infer", root / "chest_ct_two_stage", "inference.json", dataset_dir=str(tmp_path / "images"),
        output_dir=str(tmp_path / "out"), network_def=network, handlers=[],
    )  # fmt: skip
    flow.initialize()
    flow.run()
    flow.finalize()
    result = nib.load(tmp_path / "out/chest_seg.nii.gz")
    np.testing.assert_allclose(result.affine, affine, atol=1e-4)
    found = np.asarray(result.dataobj)
    assert found.shape == label.shape
    for value, key in NAMES.items():
        assert phantom.dice(found == value, label == value) > 0.85, key
    spans_the_scan(found == 1, affine)
    left, right = (np.argwhere(found == value).mean(axis=0) for value in LUNGS)
    # RAS: the patient's left has the smaller x.
    assert (affine[:3, :3] @ (left - right))[0] < -100
    assert (found == 3).sum() > (found == 2).sum()


def spans_the_scan(cord: np.ndarray, affine: np.ndarray) -> None:
    axis = int(np.abs(affine[2, :3]).argmax())
    slices = np.flatnonzero(cord.any(axis=tuple(a for a in range(3) if a != axis)))
    assert slices.tolist() == list(range(cord.shape[axis])), "the cord goes on to both ends"
