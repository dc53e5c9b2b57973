"""Both stages on the synthetic patient, with stand-ins for the networks whose right answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Orientation
from torch import nn

from oarseg.errors import ConfigError
from oarseg.geometry.volume import Volume
from oarseg.inference import LocalizerInferer, TwoStageInferer, locate
from oarseg.inference.engines import numpy_network
from oarseg.networks import TwoStageNet
from oarseg.sites import load_site
from oarseg.transforms import image_grid

pytestmark = pytest.mark.slow

SITE = load_site()
KEYS = [organ.key for organ in SITE.organs]
DIRECTIONS = {
    "LPS": (np.diag([-3.0, -3, 3]), (64, 66, 56)),
    "RAS": (np.diag([2.5, 3, 3]), (76, 66, 56)),
    "PIR": (np.array([[0, 0, 3.0], [-3, 0, 0], [0, -2.5, 0]]), (66, 66, 64)),
    "oblique": (np.array([[-2.96, 0.3, 0], [-0.3, -2.985, 0], [0, 0, 3.0]]) * [1.0, 1.0, 1.0], (68, 70, 56)),
}


def stand_in(phantom, missing_one: str | None = None, missing_two: str | None = None) -> TwoStageNet:
    """A two-stage net that knows the phantom; ``missing``: an organ that the stage overlooks."""
    values = [organ.value for organ in SITE.organs]
    first = phantom.ByIntensity(values)
    if missing_one:
        first = Blind(first, SITE.organ(missing_one).value)
    second = {o.key: phantom.ByIntensity([o.value]) for o in SITE.organs}
    if missing_two:
        second[missing_two] = Blind(second[missing_two], 1)
    return TwoStageNet(first, second)


class Blind(nn.Module):
    """A network that does not see one of its classes."""

    def __init__(self, network: nn.Module, channel: int) -> None:
        super().__init__()
        self.network, self.channel = network, channel

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        out = self.network(image)
        out[:, self.channel] = -20
        return out


def prepared(phantom, matrix: np.ndarray, shape: tuple, shift: tuple = (0, 0, 0)) -> tuple[MetaTensor, MetaTensor]:
    """Scaled image (1, 1, D, H, W) and label map (1, D, H, W) in SPL orientation."""
    affine = phantom.centred_affine(matrix, shape)
    affine[:3, 3] += shift
    image, label = phantom.tensors(shape, affine)
    turn = Orientation(axcodes="SPL", labels=None)
    image, label = turn(image), turn(label)
    values = torch.as_tensor(phantom.scaled(image.numpy()))
    return MetaTensor(values[None], affine=image.affine), label


def check_all(found: np.ndarray, label: MetaTensor, phantom, least: float) -> None:
    truth = label.as_tensor().numpy()[0]
    for key, value in SITE.values.items():
        score = phantom.dice(found == value, truth == value)
        assert score > least, f"{key}: Dice {score:.3f}"


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_two_stages_find_the_patient_in_any_orientation(direction: str, phantom) -> None:
    image, label = prepared(phantom, *DIRECTIONS[direction])
    result = TwoStageInferer(SITE).segment(image, stand_in(phantom))
    assert result.missing == {}
    assert list(result.boxes) == KEYS
    assert result.label.dtype == np.uint8
    check_all(result.label, label, phantom, 0.95)


@pytest.mark.parametrize("direction", ["LPS", "PIR"])
def test_localizer_alone(direction: str, phantom) -> None:
    image, label = prepared(phantom, *DIRECTIONS[direction])
    found = LocalizerInferer(SITE)(image, stand_in(phantom).localizer)
    assert found.shape == image.shape
    check_all(torch.as_tensor(found)[0, 0].numpy(), label, phantom, 0.85)


@pytest.mark.parametrize("stage", ["localizer", "two stages"])
def test_the_answer_has_the_images_meta(stage: str, phantom) -> None:
    image, _ = prepared(phantom, *DIRECTIONS["LPS"])
    network = stand_in(phantom)
    if stage == "localizer":
        found = LocalizerInferer(SITE)(image, network.localizer)
    else:
        found = TwoStageInferer(SITE)(image, network)
    assert isinstance(found, MetaTensor)
    np.testing.assert_allclose(found.affine, image.affine)


def test_boxes_hold_their_organs(phantom) -> None:
    image, label = prepared(phantom, *DIRECTIONS["LPS"])
    result = TwoStageInferer(SITE).segment(image, stand_in(phantom))
    for key, box in result.boxes.items():
        where = np.argwhere(label.as_tensor().numpy()[0] == SITE.values[key])
        assert (where.min(axis=0) * 3 >= np.array(box.low)).all(), key
        assert ((where.max(axis=0) + 1) * 3 <= np.array(box.high)).all(), key
        assert all(s >= f - 1e-6 for s, f in zip(box.size, SITE.organ(key).field_mm, strict=True))


def test_stage_two_sees_its_own_grid(phantom) -> None:
    image, _ = prepared(phantom, *DIRECTIONS["LPS"])
    network = stand_in(phantom)
    TwoStageInferer(SITE, ["mandible", "eye_left"]).segment(image, network)
    assert network.organs["mandible"].calls == [(64, 128, 128)]
    assert network.organs["eye_left"].calls == [(32, 32, 32)]
    assert network.organs["brainstem"].calls == []


def test_organs_asked_for_in_any_order(phantom) -> None:
    image, _ = prepared(phantom, *DIRECTIONS["LPS"])
    result = TwoStageInferer(SITE, ["parotid_left", "brainstem"]).segment(image, stand_in(phantom))
    assert set(np.unique(result.label).tolist()) == {0, 1, 7}
    assert list(result.boxes) == ["brainstem", "parotid_left"]
    with pytest.raises(ConfigError, match="heart"):
        TwoStageInferer(SITE, ["heart"])


def test_an_organ_that_a_stage_does_not_find_is_told_and_ends_nothing(phantom) -> None:
    image, label = prepared(phantom, *DIRECTIONS["LPS"])
    result = TwoStageInferer(SITE).segment(image, stand_in(phantom, "eye_left", "mandible"))
    assert set(result.missing) == {"eye_left", "mandible"}
    assert "stage 1" in result.missing["eye_left"] and "stage 2" in result.missing["mandible"]
    assert set(np.unique(result.label).tolist()) == {0, 1, 3, 5, 6, 7, 8}
    assert "mandible" not in result.boxes and "eye_left" not in result.boxes
    assert phantom.dice(result.label == 7, label.as_tensor().numpy()[0] == 7) > 0.95


def test_empty_image_finds_nothing(phantom) -> None:
    image = MetaTensor(torch.zeros(1, 1, 20, 30, 30), affine=torch.as_tensor(np.diag([3.0, 3, 3, 1])))
    result = TwoStageInferer(SITE).segment(image, stand_in(phantom))
    assert list(result.missing) == KEYS
    assert not result.label.any()


def test_small_field_of_view(phantom) -> None:
    """Only the upper half of the head was scanned: what is there is found, what is not is missing."""
    image, label = prepared(phantom, np.diag([-3.0, -3, 3]), (64, 66, 26), (0, 0, 49))
    result = TwoStageInferer(SITE).segment(image, stand_in(phantom))
    assert set(result.missing) == {"mandible", "parotid_left", "parotid_right"}
    for value in (1, 2, 3, 5, 6):
        assert phantom.dice(result.label == value, label.as_tensor().numpy()[0] == value) > 0.93


def test_from_head_to_chest(phantom) -> None:
    """40 cm below the head change nothing about the head."""
    image, label = prepared(phantom, np.diag([-3.0, -3, 3]), (64, 66, 56))
    below = torch.zeros(1, 1, 136, *image.shape[3:])
    below[:, :, :, 15:50, 8:56] = 0.64
    below[:, :, -2:], image[:, :, :8, 28:38, 28:36] = 0, 0.64
    below[:, :, -2:, 28:38, 28:36] = 0.64
    affine = np.asarray(image.affine).copy()
    affine[:3, 3] -= 136 * affine[:3, 0]
    long = MetaTensor(torch.cat([below, image.as_tensor()], dim=2), affine=torch.as_tensor(affine))
    result = TwoStageInferer(SITE).segment(long, stand_in(phantom))
    assert result.missing == {}
    assert not result.label[:136].any()
    check_all(result.label[136:], label, phantom, 0.95)


def test_single_organ_network_needs_a_localizer(phantom) -> None:
    image, label = prepared(phantom, *DIRECTIONS["LPS"])
    network = phantom.ByIntensity([7])
    inferer = TwoStageInferer(SITE, ["parotid_left"], stand_in(phantom).localizer)
    found = torch.as_tensor(inferer(image, network))[0, 0]
    assert phantom.dice(found.numpy() == 7, label.as_tensor().numpy()[0] == 7) > 0.95
    for wrong in (TwoStageInferer(SITE, ["parotid_left"]), TwoStageInferer(SITE, None, stand_in(phantom).localizer)):
        with pytest.raises(ConfigError, match="needs a localizer and exactly one organ"):
            wrong(image, network)


def test_a_batch_is_refused(phantom) -> None:
    with pytest.raises(ConfigError, match="one image"):
        TwoStageInferer(SITE)(MetaTensor(torch.zeros(2, 1, 8, 8, 8)), stand_in(phantom))


def test_progress_and_seconds_are_told(phantom) -> None:
    image, _ = prepared(phantom, *DIRECTIONS["LPS"])
    told: list[str] = []
    result = TwoStageInferer(SITE, ["eye_left"]).segment(image, stand_in(phantom), told.append)
    assert told == ["stage 1: locating organs", "stage 2: left eye"]
    assert set(result.seconds) == {"localize", "segment"} and min(result.seconds.values()) > 0


class Bright(nn.Module):
    """Takes everything bright for the left eye."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        out = torch.full((1, 9, *image.shape[2:]), -20.0)
        out[:, 0], out[:, 2] = 0, torch.where(image[:, 0] > 0.8, 9.0, -9.0)
        return out


@pytest.mark.parametrize(("size", "found"), [(2, False), (4, True)])
def test_a_speck_is_no_organ_and_does_not_move_the_box(size: int, found: bool, phantom) -> None:
    """The eye's least plausible volume is 4 cm3, so 0.2 cm3 are noise, and 1.7 cm3 a cut-off eye."""
    values = torch.full((1, 40, 50, 50), 0.625)
    values[0, 20 : 20 + size, 20 : 20 + size, 20 : 20 + size] = 1
    values[0, 5, 40, 40] = 1
    grid = image_grid(values.shape[1:], np.diag([3.0, 3, 3, 1]))
    located = locate(Volume(values[0].numpy(), grid), numpy_network(Bright()), SITE)
    assert set(located) == ({"eye_left"} if found else set())
    if found:
        np.testing.assert_allclose(located["eye_left"].box.low, 60, atol=3)
        np.testing.assert_allclose(located["eye_left"].box.high, 72, atol=3)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_places_the_same_labels_as_the_cpu(phantom) -> None:
    image, label = prepared(phantom, *DIRECTIONS["oblique"])
    network = stand_in(phantom)
    cpu = TwoStageInferer(SITE)(image, network)
    cuda = TwoStageInferer(SITE)(image.to("cuda"), network.to("cuda"))
    assert cuda.device.type == "cuda"
    for value in SITE.values.values():
        assert phantom.dice(cuda.cpu().numpy() == value, cpu.numpy() == value) > 0.99
    check_all(cuda.cpu().numpy()[0, 0], label, phantom, 0.9)
