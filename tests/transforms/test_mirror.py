"""Mirroring a patient: organs change sides, and their names with them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from oarseg.errors import GeometryError
from oarseg.sites import load_site
from oarseg.transforms import Mirror, RandMirrord

SITE = load_site()
DIRECTIONS = {
    "LPS": np.diag([-4.0, -4, 4]),
    "RAS": np.diag([4.0, 4, 4]),
    "SPL": np.array([[0, 0, -4.0], [0, -4, 0], [4, 0, 0]]),
    "oblique": np.array([[-4.0, 0, 0.8], [0, -4, 0], [0.8, 0, 4.0]]),
}
SHAPE = (50, 46, 44)
each_direction = pytest.mark.parametrize("direction", DIRECTIONS)


def centroid(label: MetaTensor, value: int) -> np.ndarray:
    """RAS mm."""
    index = np.argwhere(label.as_tensor().numpy()[0] == value).mean(axis=0)
    affine = np.asarray(label.affine)
    return affine[:3, :3] @ index + affine[:3, 3]


def patient(phantom, direction: str) -> tuple[MetaTensor, MetaTensor]:
    return phantom.tensors(SHAPE, phantom.centred_affine(DIRECTIONS[direction], SHAPE))


@each_direction
def test_values_and_positions_change_sides(direction: str, phantom) -> None:
    image, label = patient(phantom, direction)
    mirrored = Mirror(SITE.mirror_pairs)(label)
    np.testing.assert_array_equal(mirrored.affine, label.affine)
    plane = phantom.centre[0]
    for left, right in SITE.mirror_pairs:
        for value, twin in ((left, right), (right, left)):
            was, now = centroid(label, twin), centroid(mirrored, value)
            if direction == "oblique":
                # The volume's own middle plane, which is slightly turned against the patient's.
                assert np.sign(now[0] - plane) == -np.sign(was[0] - plane)
                continue
            np.testing.assert_allclose(now, [2 * plane - was[0], was[1], was[2]], atol=0.01)
            assert (mirrored == value).sum() == (label == twin).sum()
        # Label values still say where an organ is: left is left (RAS x grows to the right).
        assert centroid(mirrored, left)[0] < plane < centroid(mirrored, right)[0]
    # The left parotid was the larger one; now the right one is.
    assert (label == 7).sum() > (label == 8).sum()
    assert (mirrored == 7).sum() < (mirrored == 8).sum()
    # Unpaired organs keep their value; the image is flipped likewise.
    assert (mirrored == 4).sum() == (label == 4).sum()
    flipped = Mirror()(image)
    for value in (1, 4, 7):
        source = dict(SITE.mirror_pairs).get(value, value)
        assert set(flipped.as_tensor()[mirrored.as_tensor() == value].unique().tolist()) == {source * phantom.hu_step}


@each_direction
def test_twice_is_the_same_patient(direction: str, phantom) -> None:
    image, label = patient(phantom, direction)
    assert torch.equal(Mirror()(Mirror()(image)).as_tensor(), image.as_tensor())
    assert not torch.equal(Mirror()(image).as_tensor(), image.as_tensor())
    mirror = Mirror(SITE.mirror_pairs)
    twice = mirror(mirror(label))
    assert torch.equal(twice.as_tensor(), label.as_tensor())
    assert twice.dtype == label.dtype


def test_pairs_of_the_site() -> None:
    assert SITE.mirror_pairs == [(2, 3), (5, 6), (7, 8)]


def test_without_an_affine_it_does_not_guess() -> None:
    with pytest.raises(GeometryError, match="affine"):
        Mirror()(torch.zeros(1, 3, 3, 3))


def transform(require: str | None = None, prob: float = 0.5) -> RandMirrord:
    return RandMirrord(["image", "label"], ["label"], SITE.organs, require, prob)


def data(phantom, labelled: list[str] | None) -> dict:
    image, label = patient(phantom, "SPL")
    return {"image": image, "label": label} | ({} if labelled is None else {"labelled": labelled})


def is_mirrored(out: dict, given: dict) -> bool:
    same = torch.equal(out["image"].as_tensor(), given["image"].as_tensor())
    assert torch.equal(out["label"].as_tensor(), given["label"].as_tensor()) == same, "image and label go together"
    return not same


@pytest.mark.parametrize(
    ("labelled", "mirrored"),
    [(["parotid_left", "brainstem"], False), (["parotid_right", "mandible"], True)],
)
def test_required_organ_is_there_afterwards(labelled: list[str], mirrored: bool, phantom) -> None:
    given = data(phantom, labelled)
    for prob in (0.0, 1.0):
        out = transform("parotid_left", prob)(given)
        assert is_mirrored(out, given) == mirrored
        assert "parotid_left" in out["labelled"]
        assert set(out["labelled"]) - {"parotid_left"} == set(labelled) - {"parotid_left", "parotid_right"}


def test_both_sides_or_neither_leave_it_to_chance(phantom) -> None:
    for labelled in (["parotid_left", "parotid_right"], ["brainstem"], None):
        given = data(phantom, labelled)
        assert is_mirrored(transform("parotid_left", 1.0)(given), given)
        assert not is_mirrored(transform("parotid_left", 0.0)(given), given)


def test_required_organ_without_a_twin_may_be_mirrored(phantom) -> None:
    given = data(phantom, ["brainstem", "eye_left"])
    out = transform("brainstem", 1.0)(given)
    assert is_mirrored(out, given)
    assert out["labelled"] == ["brainstem", "eye_right"]
    assert given["labelled"] == ["brainstem", "eye_left"], "the given case stays as it was"


def test_chance_follows_the_seed(phantom) -> None:
    given = data(phantom, ["brainstem"])
    one, two = transform(), transform()
    one.set_random_state(seed=5)
    two.set_random_state(seed=5)
    drawn = [is_mirrored(one(given), given) for _ in range(16)]
    assert drawn == [is_mirrored(two(given), given) for _ in range(16)]
    assert 0 < sum(drawn) < 16
