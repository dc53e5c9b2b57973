"""What each stage is shown: the body at constant spacing, and the box around one organ."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Orientationd

from oarseg.errors import ConfigError, InputError
from oarseg.geometry.box import body_slices
from oarseg.sites import load_site
from oarseg.transforms import EncodeDrawnd, EncodePartialLabelsd, LocalizerViewd, OrganViewd, RandStaged

SITE = load_site()
# Slices, rows, columns of an SPL image, mm.
SPACING, SHAPE = (3.0, 4.0, 4.0), (60, 52, 50)
SPL = np.array([[0, 0, -SPACING[2]], [0, -SPACING[1], 0], [SPACING[0], 0, 0]])


def case(phantom, shape: tuple = SHAPE, shift: tuple = (0, 0, 0)) -> dict:
    """A scaled image and its label map in SPL orientation; ``shift``: RAS mm by which the scan misses the patient."""
    affine = phantom.centred_affine(SPL, shape)
    affine[:3, 3] += shift
    return scaled_case(phantom, shape, affine)


def scaled_case(phantom, shape: tuple, affine: np.ndarray) -> dict:
    image, label = phantom.tensors(shape, affine)
    values = torch.as_tensor(phantom.scaled(image.numpy()))
    return {"image": MetaTensor(values, affine=image.affine), "label": label}


def world(image: MetaTensor, mask: torch.Tensor) -> np.ndarray:
    """RAS mm of a mask's centroid."""
    affine = np.asarray(image.affine)
    return affine[:3, :3] @ np.argwhere(np.asarray(mask)).mean(axis=0) + affine[:3, 3]


def view(organ: str, jitter: float = 0.0) -> OrganViewd:
    return OrganViewd("image", "label", SITE.organ(organ), jitter)


@pytest.mark.parametrize("organ", [o.key for o in SITE.organs])
def test_organ_view_shows_the_organ_in_the_middle_at_its_scale(organ: str, phantom) -> None:
    row, given = SITE.organ(organ), case(phantom)
    out = view(organ)(case(phantom))
    assert out["image"].shape == out["label"].shape == (1, *row.grid)
    assert out["labelled"] == [organ]
    spacing = np.linalg.norm(np.asarray(out["image"].affine)[:3, :3], axis=0)
    np.testing.assert_allclose(spacing, np.array(row.field_mm) / row.grid, rtol=1e-6)
    inside = out["label"].as_tensor()[0]
    assert set(inside.unique().tolist()) == {0, 1}
    # Where it was in the world, and in the middle of the crop.
    was = world(given["label"], given["label"][0] == row.value)
    np.testing.assert_allclose(world(out["label"], inside), was, atol=1.0)
    found = np.argwhere(inside.numpy())
    middle = (found.min(axis=0) + found.max(axis=0) + 1) / 2
    np.testing.assert_allclose(middle * spacing, np.array(row.field_mm) / 2, atol=3)
    # As large as it was.
    before, after = (given["label"] == row.value).sum() * np.prod(SPACING), inside.sum() * np.prod(spacing)
    assert float(after) == pytest.approx(float(before), rel=0.1)
    # The image shows the same organ there: its own intensity in its core.
    core = inside.numpy() & (np.abs(np.indices(row.grid) - middle[:, None, None, None]).max(axis=0) < 1.5)
    value = (row.value * phantom.hu_step + 1000) / 1600
    assert np.abs(out["image"].numpy()[0][core > 0] - value).max() < 0.03


def test_organ_view_of_a_large_organ_shrinks_to_margins(phantom) -> None:
    given = case(phantom)
    given["label"][:, :, 4:48, :] = 4
    out = view("mandible")(given)
    spacing = np.linalg.norm(np.asarray(out["image"].affine)[:3, :3], axis=0)
    assert spacing[1] * 128 == pytest.approx(44 * 4 + 2 * SITE.organ("mandible").margin_mm[1])


def test_organ_view_at_the_border_is_padded_with_air(phantom) -> None:
    # The scan ends 32 mm above the middle, within the brainstem.
    given = case(phantom, (28, 52, 50), (0, 0, -10))
    assert (given["label"][0, -1] == 1).any()
    out = view("brainstem")(given)
    above = out["image"].as_tensor()[0, -8:]
    assert not above.any(), "what lies beyond the scan is air"
    assert not out["label"].as_tensor()[0, -8:].any()


def test_jitter_moves_the_crop_within_its_bound(phantom) -> None:
    corners = []
    transform = view("parotid_left", 6.0)
    transform.set_random_state(seed=1)
    for _ in range(8):
        corners.append(np.asarray(transform(case(phantom))["image"].affine)[:3, 3])
    still = np.asarray(view("parotid_left")(case(phantom))["image"].affine)[:3, 3]
    off = np.abs(np.array(corners) - still)
    assert 1 < off.max() <= 6 + 1e-6
    assert np.ptp(corners, axis=0).min() > 1


def test_organ_view_names_the_missing_organ(phantom) -> None:
    given = case(phantom)
    given["label"][given["label"] == 5] = 0
    given["label"].meta["filename_or_obj"] = "case_7.nii.gz"
    with pytest.raises(InputError, match="case_7.nii.gz.*optic_nerve_left"):
        view("optic_nerve_left")(given)


def test_localizer_view(phantom) -> None:
    given = case(phantom, (70, 60, 56))
    spacing = SITE.localizer.spacing_mm
    out = LocalizerViewd(["image", "label"], "image", ["label"], spacing)(case(phantom, (70, 60, 56)))
    assert out["image"].shape == out["label"].shape
    np.testing.assert_allclose(np.linalg.norm(np.asarray(out["image"].affine)[:3, :3], axis=0), spacing)
    assert out["label"].dtype == given["label"].dtype
    # Cropped to the body, about 160 x 176 x 156 mm, and four voxels around.
    body = np.array((160, 176, 156)) / spacing + 8
    np.testing.assert_allclose(out["image"].shape[1:], body, atol=4)
    assert all(a < b for a, b in zip(out["image"].shape[2:], np.array((60, 56)) * 4 / 2.5, strict=True))
    for value in range(1, 9):
        was = world(given["label"], given["label"][0] == value)
        np.testing.assert_allclose(world(out["label"], out["label"][0] == value), was, atol=1.5)


@pytest.mark.parametrize("stage", [1, 2])
def test_the_given_case_stays_as_it_was(stage: int, phantom) -> None:
    given = case(phantom)
    before = np.asarray(given["image"].affine).copy()
    first = LocalizerViewd(["image", "label"], "image", ["label"], SITE.localizer.spacing_mm)
    (first if stage == 1 else view("mandible"))(given)
    assert given["image"].shape == (1, *SHAPE)
    np.testing.assert_array_equal(given["image"].affine, before)
    np.testing.assert_array_equal(given["label"].affine, before)


def test_localizer_view_of_a_long_scan_keeps_the_scale(phantom) -> None:
    """A table of 300 more millimetres below the head makes a longer crop, not a squeezed one."""
    short = case(phantom)
    long = {k: torch.cat([v.as_tensor()[:, :1].repeat(1, 100, 1, 1), v.as_tensor()], 1) for k, v in short.items()}
    long["image"][:, :110, 20:30, 20:30] = 0.65
    affine = np.asarray(short["image"].affine).copy()
    affine[:3, 3] -= 100 * affine[:3, 0]
    long = {k: MetaTensor(v, affine=torch.as_tensor(affine)) for k, v in long.items()}
    transform = LocalizerViewd(["image", "label"], "image", ["label"], SITE.localizer.spacing_mm)
    a, b = transform(short), transform(long)
    assert b["image"].shape[1] > a["image"].shape[1] + 90
    for value in (1, 4, 7):
        assert (b["label"] == value).sum() == pytest.approx(int((a["label"] == value).sum()), rel=0.05)


def test_body_crop_keeps_a_head_parted_from_the_trunk() -> None:
    volume = np.zeros((40, 40, 50))
    volume[2:20, 5:30, 5:45] = 0.6
    volume[24:36, 10:25, 15:30] = 0.6
    volume[38:39, 0:3, 0:3] = 0.9
    assert body_slices(volume, margin=0) == (slice(2, 36), slice(5, 30), slice(5, 45))


def test_body_crop_ignores_what_lies_apart_from_the_patient() -> None:
    volume = np.zeros((30, 40, 50))
    volume[10:20, 10:25, 12:30] = 0.6
    volume[5:25, 36:38, 2:48] = 0.5
    volume[15, 38, 3] = 0.9
    assert body_slices(volume, margin=2) == (slice(8, 22), slice(8, 27), slice(10, 32))
    assert body_slices(volume, margin=20) == (slice(0, 30), slice(0, 40), slice(0, 50))
    # -500 HU is the border: a lung is not tissue, a mask around the head is.
    assert body_slices(np.full((3, 4, 5), 0.3)) == body_slices(np.zeros((3, 4, 5)))
    assert body_slices(np.zeros((3, 4, 5))) == (slice(0, 3), slice(0, 4), slice(0, 5))


def test_any_orientation_gives_the_same_view(phantom) -> None:
    views = []
    for matrix, shape in ((SPL, SHAPE), (np.diag([4.0, 4, 3]), (50, 52, 60)), (np.diag([-4.0, -4, 3]), (50, 52, 60))):
        given = scaled_case(phantom, shape, phantom.centred_affine(matrix, shape))
        given = Orientationd(["image", "label"], axcodes="SPL", labels=None)(given)
        views.append(view("eye_left")(given))
    for other in views[1:]:
        torch.testing.assert_close(other["image"].as_tensor(), views[0]["image"].as_tensor(), atol=1e-4, rtol=0)
        assert torch.equal(other["label"].as_tensor(), views[0]["label"].as_tensor())
        np.testing.assert_allclose(other["image"].affine, views[0]["image"].affine, atol=1e-4)


def staged() -> RandStaged:
    localizer = [LocalizerViewd(["image", "label"], "image", ["label"], SITE.localizer.spacing_mm)]
    return RandStaged(localizer, [view(o.key) for o in SITE.organs])


def test_two_stage_training_draws_stage_one_and_labelled_organs(phantom) -> None:
    def given(*labelled: str) -> dict:
        return case(phantom) | {"labelled": list(labelled)}

    transform = staged()
    transform.set_random_state(seed=3)
    encode = EncodeDrawnd("label", EncodePartialLabelsd("label", SITE.organs))
    drawn = []
    for _ in range(24):
        out = encode(transform(given("mandible", "eye_right")))
        drawn.append(out["organ"])
        if out["organ"]:
            assert out["label"].shape == (2, *SITE.organ(out["organ"]).grid)
            assert torch.equal(out["label"].sum(dim=0), torch.ones_like(out["label"][0]))
        else:
            assert out["label"].shape[0] == 9
            assert (out["label"][1] == 255).all() and not (out["label"][4] == 255).any()
    assert set(drawn) == {"", "mandible", "eye_right"}
    assert 6 <= drawn.count("") <= 18
    assert {transform(given())["organ"] for _ in range(3)} == {""}
    with pytest.raises(ConfigError, match="at least one organ"):
        RandStaged([], [])


def test_keys_come_first_and_the_names_of_0_1_0_still_work(phantom) -> None:
    organ = SITE.organ("mandible")
    old = OrganViewd(image_key="image", label_key="label", organ=organ)(case(phantom))
    given = case(phantom)
    given["dose"] = given["image"].clone()
    new = OrganViewd(["image", "dose", "label"], "label", organ)(given)
    assert torch.equal(old["image"], new["image"]) and torch.equal(old["label"], new["label"])
    assert torch.equal(new["dose"], new["image"])
    every = EncodePartialLabelsd("label", SITE.organs)
    for encode in (EncodeDrawnd("label", every), EncodeDrawnd(key="label", all_organs=every)):
        assert encode(old | {"organ": "mandible"})["label"].shape[0] == 2
    for wrong in ({"keys": "label"}, {"keys": "image", "organ": None}):
        with pytest.raises(ConfigError, match="OrganViewd needs"):
            OrganViewd(**{"organ": organ} | wrong)
