"""One method: what oarseg computes is what the bundle's config says by MONAI, or the bundle is refused by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from monai.transforms import Compose

from experiments.ablation.predict import on_axes_of
from oarseg.bundles import FOLDER
from oarseg.bundles.render import sync
from oarseg.errors import ConfigError, WeightsError
from oarseg.inference import Pipeline
from oarseg.inference.bundle import CONFIG, METADATA, other_method, read_bundle
from oarseg.inference.modules import array_networks, load_modules
from oarseg.networks import TwoStageNet
from oarseg.sites import load_site
from oarseg.training.weights import FILE, load_weights, save_weights

pytestmark = pytest.mark.slow

SITE = load_site()
NAME = "hn_ct_two_stage"


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All bundles without weights."""
    root = tmp_path_factory.mktemp("bundles")
    sync(SITE, root)
    return root / NAME


@pytest.fixture
def bundle(rendered: Path, tmp_path: Path) -> Callable[..., Path]:
    """A two-stage bundle with narrow networks; ``bundle(change)``: with its config changed."""

    def make(change: Callable[[dict], object] = lambda config: None) -> Path:
        folder = tmp_path / NAME
        for path in (rendered / "configs").iterdir():
            (folder / "configs").mkdir(parents=True, exist_ok=True)
            (folder / "configs" / path.name).write_bytes(path.read_bytes())
        site = json.loads((folder / "configs/site.json").read_text())
        for row in (site["localizer"], *site["organs"]):
            row["base_width"] = 2
        (folder / "configs/site.json").write_text(json.dumps(site))
        torch.manual_seed(0)
        network = TwoStageNet.for_site(load_site(str(folder / "configs/site.json")))
        meta = json.loads((folder / METADATA).read_text())
        meta["weights_sha256"] = save_weights(network.state_dict(), folder / FILE)
        (folder / METADATA).write_text(json.dumps(meta))
        config = json.loads((folder / CONFIG).read_text())
        change(config)
        (folder / CONFIG).write_text(json.dumps(config))
        return folder

    return make


def knowing(phantom) -> TwoStageNet:
    """Stand-ins that know the phantom."""
    second = {o.key: phantom.ByIntensity([o.value]) for o in SITE.organs}
    return TwoStageNet(phantom.ByIntensity([o.value for o in SITE.organs]), second)


def parts(network: TwoStageNet) -> dict:
    return array_networks(network.localizer, dict(network.organs.items()), "cpu")


def by_monai(folder: Path) -> ConfigParser:
    """The bundle's config, as ``monai.bundle run`` takes it."""
    parser = ConfigParser()
    parser.read_config(str(folder / CONFIG))
    parser.read_meta(str(folder / METADATA))
    parser["bundle_root"], parser["device"] = str(folder), "cpu"
    return parser


@pytest.mark.parametrize("direction", [(-1, -1, 1), (1, 1, 1)])
def test_contours_are_those_of_the_config(direction: tuple, bundle, phantom) -> None:
    """The same labels voxel by voxel, the same boxes, as by MONAI's transforms and the bundle's inferer."""
    folder = bundle()
    pipeline = Pipeline(folder, "cpu", engine=None)
    network = knowing(phantom)
    pipeline.networks = parts(network)
    image, truth = phantom.tensors((64, 66, 56), phantom.centred_affine(np.diag(direction) * 3.0, (64, 66, 56)))
    found = pipeline.segment(image)
    parser = by_monai(folder)
    prepared = Compose(parser.get_parsed_content("preprocessing").transforms[2:])({"image": image.clone()})["image"]
    result = parser.get_parsed_content("inferer").segment(prepared[None], network)
    np.testing.assert_array_equal(found.label, on_axes_of(image.affine, result.label, prepared.affine))
    assert set(np.unique(found.label)) == set(range(9)) and list(result.boxes) == list(found.boxes)
    assert phantom.dice(pipeline.stage_one(image) > 0, truth.numpy()[0] > 0) > 0.9


def test_networks_are_those_of_the_config(bundle) -> None:
    folder = bundle()
    ours, theirs = load_modules(read_bundle(folder), "cpu"), by_monai(folder).get_parsed_content("network").eval()
    load_weights(theirs, folder / FILE)
    image = torch.rand(1, 1, 16, 16, 16)
    with torch.no_grad():
        for organ in (None, "brainstem", "parotid_right"):
            torch.testing.assert_close(ours(image, organ), theirs(image, organ))


def transform(number: int, **options: object) -> Callable[[dict], object]:
    return lambda config: config["preprocessing"]["transforms"][number].update(options)


def own_preprocessing(config: dict) -> None:
    config["mine"] = {"_target_": "Compose", "transforms": [*config["preprocessing"]["transforms"][:4]]}
    config["dataset"]["transform"] = "@mine"


def keep_largest(config: dict) -> None:
    config["postprocessing"]["transforms"].insert(0, {"_target_": "KeepLargestConnectedComponentd", "keys": "pred"})


@pytest.mark.parametrize(
    ("change", "section"),
    [
        (transform(4, a_max=3000), "preprocessing .ScaleIntensityRanged: a_max is 3000, not 600"),
        (transform(4, clip=False), "preprocessing .ScaleIntensityRanged: clip is False, not True"),
        (transform(3, axcodes="RAS"), "preprocessing .Orientationd: axcodes is 'RAS', not 'SPL'"),
        (transform(3, _target_="mine.Orientationd"), "preprocessing .mine.Orientationd, ScaleIntensityRanged instead"),
        (transform(3, _disabled_=True), "preprocessing .ScaleIntensityRanged instead of Orientationd"),
        (own_preprocessing, "preprocessing .Orientationd instead of"),
        (lambda c: c["preprocessing"]["transforms"].insert(0, {"_target_": "RandFlipd"}), "preprocessing .RandFlipd"),
        (lambda c: c.update(preprocessing="$build()"), "preprocessing .*build"),
        (keep_largest, "postprocessing .KeepLargestConnectedComponentd, Invertd instead of Invertd"),
        (lambda c: c.update(organs=["mandible"]), "inferer .TwoStageInferer: organs is .'mandible'., not None"),
        (lambda c: c["inferer"].update(organs=["mandible"]), "inferer .TwoStageInferer: organs"),
        (lambda c: c.update(inferer={"_target_": "SimpleInferer"}), "no TwoStageInferer .* SimpleInferer"),
        (lambda c: c["network_def"].update(_target_="mine.Net"), "network .mine.Net instead of TwoStageNet.for_site"),
        (lambda c: c.update(network="$compiled(@network_def)"), "network .*compiled"),
        (lambda c: c.update(site="$oarseg.sites.load_site('thorax')"), "site .*thorax"),
        (lambda c: c.update(ckpt_path="elsewhere/other.pt"), "ckpt_path .elsewhere/other.pt"),
        (lambda c: c.update(network="@a", a="@b", b="@a"), "network .@"),
        (lambda c: c.update(evaluator="@none"), None),
        (lambda c: c.update(inferer="@x#9#y", x=[1]), "no TwoStageInferer"),
    ],
)
def test_a_bundle_with_a_method_of_its_own_is_refused_by_name(change, section: str | None, bundle) -> None:
    """Contours that ignore a changed config in silence would be wrong."""
    folder = bundle(change)
    if section is None:
        Pipeline(folder, "cpu", engine=None)
        return
    with pytest.raises(ConfigError, match=section) as raised:
        Pipeline(folder, "cpu", engine=None)
    assert str(folder) in str(raised.value) and "python -m monai.bundle run --bundle_root" in str(raised.value)
    assert "\n" not in str(raised.value)


def renamed(config: dict) -> None:
    config["steps"] = config.pop("preprocessing")["transforms"]
    config["dataset"]["transform"] = {"_target_": "Compose", "transforms": "@steps"}
    config["steps"][3]["_target_"] = "monai.transforms.OrientationD"
    config["steps"][4] |= {"keys": ["image"], "a_min": -1000.0, "b_max": 1.0}


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c.update(output_dir="elsewhere", dataset_dir="there"),
        lambda c: c.update(imports=["$import oarseg", "$import json"], something={"else": 1}),
        lambda c: c.update(handlers=[]),
        lambda c: c.update(network="$@network_def.to(@device)"),
        lambda c: c.update(network="@network_def"),
        lambda c: c.update(postprocessing={}),
        lambda c: c["preprocessing"]["transforms"].pop(2),
        lambda c: c["preprocessing"]["transforms"][0].update(_target_="LoadImaged"),
        lambda c: c["postprocessing"]["transforms"].pop(1),
        lambda c: c["dataloader"].update(num_workers=4),
        transform(3, labels=[["L", "R"]]),
        renamed,
    ],
)
def test_what_does_not_change_contours_does_not_matter(change, bundle) -> None:
    assert set(Pipeline(bundle(change), "cpu", engine=None).networks) == {"localizer", *SITE.values}


def test_the_template_states_the_method() -> None:
    template = FOLDER / "templates" / "two_stage" / "inference.json"
    assert other_method(json.loads(template.read_text())) is None


@pytest.mark.parametrize("content", ["{", "[]", '"text"', "[" * 100_000])
@pytest.mark.parametrize("file", [CONFIG, METADATA])
def test_damaged_json_is_refused_by_name(file: str, content: str, bundle) -> None:
    folder = bundle()
    (folder / file).write_text(content)
    with pytest.raises(ConfigError, match=f"not a whole bundle: {Path(file).name}"):
        read_bundle(folder)


def test_no_bundle_no_weights_other_weights(bundle, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not a bundle: it has no configs/inference.json"):
        read_bundle(tmp_path / "none")
    folder = bundle()
    (folder / FILE).write_bytes(b"other")
    with pytest.raises(WeightsError, match="has SHA-256"):
        read_bundle(folder)
    (folder / FILE).unlink()
    with pytest.raises(WeightsError, match="weights missing"):
        read_bundle(folder)
