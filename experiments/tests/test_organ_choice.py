"""Which organ a sample of the network for all organs shows, and how often."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, RandShiftIntensityd

from experiments.peers.organ_choice import RandOrgan
from oarseg.errors import ConfigError
from oarseg.sites import load_site
from oarseg.transforms import OrganViewd

SITE = load_site()
KEYS = [organ.key for organ in SITE.organs]


def drawn(transform: RandOrgan, labelled: list[str] | None, times: int = 400) -> Counter:
    data = {} if labelled is None else {"labelled": labelled}
    return Counter(transform(data)["organ"] for _ in range(times))


def named(**shares: float) -> RandOrgan:
    """Views that say whose they are."""
    views = {key: lambda data, key=key: {**data, "seen": key} for key in KEYS}
    transform = RandOrgan(views, {key: shares.get(key, 0.0) for key in KEYS} if shares else None)
    transform.set_random_state(seed=1)
    return transform


def test_only_labelled_organs_are_drawn_and_all_of_them() -> None:
    assert set(drawn(named(), ["mandible", "eye_right", "thyroid"])) == {"mandible", "eye_right"}
    assert set(drawn(named(), None)) == set(KEYS)
    out = named()({"labelled": ["mandible"], "image": 1})
    assert out == {"labelled": ["mandible"], "image": 1, "seen": "mandible", "organ": "mandible"}


def test_shares() -> None:
    transform = named(mandible=1, eye_left=3, eye_right=6)
    found = drawn(transform, KEYS, 2000)
    assert set(found) == {"mandible", "eye_left", "eye_right"}
    for key, share in {"mandible": 0.1, "eye_left": 0.3, "eye_right": 0.6}.items():
        assert found[key] / 2000 == pytest.approx(share, abs=0.03), key
    some = drawn(transform, ["mandible", "eye_left", "brainstem"], 2000)
    assert some["eye_left"] / 2000 == pytest.approx(0.75, abs=0.03), "3 : 1 among those that are labelled"
    even = drawn(named(), ["brainstem", "eye_left"], 2000)
    assert even["brainstem"] / 2000 == pytest.approx(0.5, abs=0.04)


def test_a_seed_repeats_organs_crops_and_what_follows(phantom) -> None:
    affine = phantom.centred_affine([[0, 0, -4.0], [0, -4.0, 0], [3.0, 0, 0]], (60, 52, 50))

    def samples(seed: int) -> list[dict]:
        views = {
            o.key: Compose([OrganViewd("image", "label", o, 6.0), RandShiftIntensityd("image", 0.1, prob=1.0)])
            for o in SITE.organs[:3]
        }
        transform = RandOrgan(views)
        transform.set_random_state(seed=seed)
        image, label = phantom.tensors((60, 52, 50), affine)
        image = MetaTensor(torch.as_tensor(phantom.scaled(image.numpy())), affine=image.affine)
        return [transform({"image": image, "label": label, "labelled": KEYS}) for _ in range(4)]

    first, again, other = samples(3), samples(3), samples(4)
    assert [s["organ"] for s in first] == [s["organ"] for s in again]
    assert all(torch.equal(a["image"], b["image"]) for a, b in zip(first, again, strict=True))
    assert [float(s["image"].sum()) for s in first] != [float(s["image"].sum()) for s in other]
    for sample in first:
        assert sample["image"].shape[1:] == SITE.organ(sample["organ"]).grid
        assert sample["labelled"] == [sample["organ"]]
        assert sample["label"].any()


@pytest.mark.parametrize(
    ("views", "shares", "message"),
    [
        ({}, None, "shares are of nothing"),
        ({"a": dict}, {"b": 1}, "shares are of b; expected one for each view: a"),
        ({"a": dict}, {"a": -1}, "numbers from 0 on"),
        ({"a": dict}, {"a": float("nan")}, "numbers from 0 on"),
    ],
)
def test_wrong_shares(views: dict, shares: dict | None, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RandOrgan(views, shares)


@pytest.mark.parametrize("labelled", [[], ["thyroid"], ["brainstem"]])
def test_a_case_without_any_of_the_organs(labelled: list[str]) -> None:
    with pytest.raises(ConfigError, match="the case labels (nothing|thyroid|brainstem)"):
        named(mandible=1)({"labelled": labelled})
