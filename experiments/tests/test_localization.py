"""Where stage 1 puts its boxes and what stage 2 makes of shifted ones; the commands from a data set to the page."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from matplotlib import image as png
from monai.transforms import LoadImage

from experiments.localization import run as localization
from experiments.localization import store
from experiments.localization.coverage import (
    coverage_rows,
    face_distances,
    located_case,
    needed,
    section_cases,
    share_inside,
)
from experiments.localization.page import tightest_table
from experiments.localization.shift import shift_rows, shifted
from experiments.localization.store import FACES
from experiments.localization.summary import coverage
from oarseg.errors import GeometryError, InputError
from oarseg.inference import Pipeline
from oarseg.inference.localize import Network
from oarseg.inference.modules import array_networks
from oarseg.sites import load_site
from oarseg.transforms import Box, Grid, box_of_mask

pytestmark = pytest.mark.slow

SITE = load_site()
GRID = Grid((0.0, 0.0, 0.0), (3.0, 2.0, 2.5), (20, 30, 40))
SMALL = ("brainstem", "eye_left", "parotid_left")


def misplaced(network: Network, voxels: int) -> Network:
    """A network whose answer lies ``voxels`` further to the patient's left."""
    return lambda image: np.roll(network(image), voxels, axis=-1)


def blind(image: np.ndarray) -> np.ndarray:
    """A localizer that sees nothing but background."""
    return np.concatenate([image * 0 + 9, *[image * 0] * len(SITE.organs)], axis=1)


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch, phantom) -> Pipeline:
    """The installed two-stage bundle with networks that know the phantom."""
    monkeypatch.setattr("oarseg.inference.bundle.verified", lambda root: (Path("model.pt"), "0123456789abcdef"))
    monkeypatch.setattr("oarseg.inference.modules.load_weights", lambda network, path: None)
    pipeline = Pipeline(device="cpu")
    second = {o.key: phantom.ByIntensity([o.value]) for o in SITE.organs}
    pipeline.networks = array_networks(phantom.ByIntensity([o.value for o in SITE.organs]), second, "cpu")
    return pipeline


@pytest.fixture
def small_dataset(tmp_path: Path, phantom) -> Path:
    """One case in either section, in different orientations, that labels three organs; one of training's is silver."""
    content = {}
    for section, matrix in (("training", np.diag([-3.0, -3, 3])), ("validation", np.diag([3.0, 3, 3]))):
        affine = phantom.centred_affine(matrix, phantom.shape)
        hu, label = phantom.draw(phantom.shape, affine)
        for kind, array in (("image", hu), ("label", label)):
            nib.save(nib.Nifti1Image(array, affine), tmp_path / f"{kind}_{section}.nii.gz")
        row = {"image": f"image_{section}.nii.gz", "label": f"label_{section}.nii.gz", "labelled": list(SMALL)}
        if section == "training":
            row |= {"labelled": ["brainstem", "parotid_left"], "label_propagated": row["label"]}
            row |= {"propagated": ["eye_left"]}
        content[section] = [row]
    (tmp_path / "dataset.json").write_text(json.dumps(content), encoding="utf-8")
    return tmp_path


def block() -> np.ndarray:
    """10 x 10 x 10 voxels of GRID: 15 to 45 mm, 10 to 30 mm, 25 to 50 mm."""
    mask = np.zeros(GRID.shape, bool)
    mask[5:15, 5:15, 10:20] = True
    return mask


def test_share_faces_and_needs_on_paper() -> None:
    mask, tight = block(), box_of_mask(block(), GRID)
    assert (tight.low, tight.high) == ((15, 10, 25), (45, 30, 50))
    assert share_inside(mask, GRID, tight) == 1
    # Without the first 2 of 10 slices and the last 5 of 10 columns; the third slice's centre lies at 22.5 mm.
    cut = Box((22.4, 0.0, 20.0), (60.0, 60.0, 37.4))
    assert share_inside(mask, GRID, cut) == pytest.approx(0.8 * 0.5)
    assert face_distances(cut, tight) == pytest.approx((-7.4, 15, 10, 30, 5, -12.6))
    # The outermost centres: 16.5 and 43.5 mm, 11 and 29 mm, 26.25 and 48.75 mm.
    assert needed(mask, GRID, cut) == pytest.approx((5.9, -16.5, -11, -31, -6.25, 11.35))
    assert share_inside(mask, GRID, Box((60.0, 60.0, 90.0), (61.0, 61.0, 91.0))) == 0


def test_needs_spare_what_may_be_missed() -> None:
    """A single voxel far out costs nothing while it is within the half per cent; of a small organ it always counts."""
    mask, box = block(), box_of_mask(block(), GRID)
    mask[19, 10, 15] = True
    assert needed(mask, GRID, box)[1] == pytest.approx(58.5 - 45)
    mask[5:15, 5:15, 5:25] = True  # 2001 voxels: 10 may be missed, 1 at each face
    needs = needed(mask, GRID, box_of_mask(mask, GRID))
    assert needs[1] == pytest.approx(43.5 - 60)
    low, high = box_of_mask(mask, GRID).low, box_of_mask(mask, GRID).high
    moved = Box(
        tuple(c - needs[2 * a] for a, c in enumerate(low)), tuple(c + needs[2 * a + 1] for a, c in enumerate(high))
    )
    assert 0.995 <= share_inside(mask, GRID, moved) < 1


@pytest.mark.parametrize("section", ["training", "validation"])
def test_a_box_too_far_left_says_so(section: str, pipeline: Pipeline, small_dataset: Path) -> None:
    """Two voxels of 2.5 mm, whichever way the image lies."""
    (case, silver), = section_cases(small_dataset, section)
    right_place = {r.organ: r for r in coverage_rows(pipeline, case, section, silver)}
    pipeline.networks |= {"localizer": misplaced(pipeline.networks["localizer"], 2)}
    moved = {r.organ: r for r in coverage_rows(pipeline, case, section, silver)}
    assert set(moved) == set(SMALL)
    for key, row in moved.items():
        before = right_place[key]
        assert row.found and row.share == 1 and row.silver == (section == "training" and key == "eye_left")
        assert max(map(abs, before.faces)) < 3.5
        difference = dict(zip(FACES, np.subtract(row.faces, before.faces), strict=True))
        expected = {"left": 5, "right": -5}
        assert difference == pytest.approx({f: expected.get(f, 0) for f in FACES}, abs=1e-6)
        assert row.need_right - before.need_right == pytest.approx(5)
        assert row.weights == "0123456789ab"


def test_the_box_is_the_one_that_stage_two_sees(pipeline: Pipeline, small_dataset: Path) -> None:
    (case, _), = section_cases(small_dataset, "validation")
    image = LoadImage(image_only=True, ensure_channel_first=True)(case["image"])
    boxes = pipeline.segment(image).boxes
    for row in coverage_rows(pipeline, case, "validation", set()):
        organ = SITE.organ(row.organ)
        size = np.maximum(np.array(row.size) + 2 * np.array(organ.margin_mm), organ.field_mm)
        low, high = boxes[row.organ]  # RAS: x is W, y is H, z is D
        assert np.allclose((high - low)[[2, 1, 0]], size)


@pytest.mark.slow
def test_an_organ_that_is_not_found_counts_as_not_held(pipeline: Pipeline, small_dataset: Path) -> None:
    pipeline.networks |= {"localizer": blind}
    (case, silver), = section_cases(small_dataset, "validation")
    rows = list(coverage_rows(pipeline, case, "validation", silver))
    assert [(r.found, r.share) for r in rows] == [(False, 0.0)] * 3 and math.isnan(rows[0].size_d)
    store.write_rows(small_dataset / "rows.csv", rows)
    assert coverage(store.read_boxes(small_dataset / "rows.csv", SITE)).held == 0
    assert "stage 1 did not find it" in tightest_table(rows, SITE)
    assert {r.start for r in shift_rows(pipeline, case)} == {"reference"}


def test_wrong_cases_are_refused(pipeline: Pipeline, small_dataset: Path) -> None:
    (case, _), = section_cases(small_dataset, "validation")
    label = nib.load(case["label"])
    lacking = np.asarray(label.dataobj).copy()
    lacking[lacking == 1] = 0
    nib.save(nib.Nifti1Image(lacking, label.affine), case["label"])
    with pytest.raises(InputError, match="labelling brainstem, but no voxel is 1"):
        list(coverage_rows(pipeline, case, "validation", set()))
    nib.save(nib.Nifti1Image(lacking[1:], label.affine), case["label"])
    with pytest.raises(GeometryError, match="another grid"):
        located_case(pipeline, case)


def test_shifted_boxes_move_towards_the_named_face() -> None:
    box = Box((0.0, 0.0, 0.0), (10.0, 20.0, 30.0))
    assert shifted(box, "none", 0) == box
    assert shifted(box, "superior", 4).low == (4, 0, 0) and shifted(box, "inferior", 4).high == (6, 20, 30)
    assert shifted(box, "anterior", 4).low == (0, -4, 0) and shifted(box, "left", 4).high == (10, 20, 34)


def test_dice_falls_once_the_organ_leaves_the_box(
    pipeline: Pipeline, small_dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The eye of 24 mm has 16 mm to spare in its 56 mm field: a shift of 28 mm cuts half of it off."""
    monkeypatch.setattr("experiments.localization.shift.SHIFTS_MM", {"reference": (8, 28), "stage1": (4,)})
    (case, _), = section_cases(small_dataset, "validation")
    case["labelled"] = ["eye_left"]
    rows = list(shift_rows(pipeline, case))
    assert len(rows) == (1 + 2 * 6) + (1 + 6)
    by = {(r.start, r.direction, r.shift_mm): r for r in rows}
    assert by["reference", "none", 0].dice > 0.9 and by["stage1", "none", 0].dice > 0.9
    for face in FACES:
        assert by["reference", face, 8].share == 1 and by["reference", face, 8].dice > 0.9
        far = by["reference", face, 28]
        assert 0.3 < far.share < 0.7 and far.dice < 0.85


@pytest.mark.slow
def test_from_the_data_set_to_the_page(
    pipeline: Pipeline, small_dataset: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr("experiments.localization.shift.SHIFTS_MM", {"reference": (8,), "stage1": (8,)})
    monkeypatch.setattr("oarseg.inference.Pipeline", lambda device, engine: pipeline)
    boxes, shifts, docs = (small_dataset / name for name in ("boxes.csv", "shifts.csv", "docs"))
    assert localization.main(["coverage", str(small_dataset), "--out", str(boxes)]) == 0
    assert "| validation | Brainstem | own | 1 | 1 | 1 (100%) |" in capsys.readouterr().out
    assert [r.section for r in store.read_boxes(boxes, SITE)] == ["validation"] * 3 + ["training"] * 3
    assert localization.main(["margins", "--boxes", str(boxes)]) == 0
    assert "| Eye_L | 1 | 56 / 56 / 56 | 8 / 8 / 8 |" in capsys.readouterr().out
    assert localization.main(["shift", str(small_dataset), "--out", str(shifts)]) == 0
    figure = ["figure", "--boxes", str(boxes), "--shifts", str(shifts), "--docs", str(docs)]
    assert localization.main([*figure, "--check"]) == 1 and not docs.exists()
    assert localization.main(figure) == 0 and localization.main([*figure, "--check"]) == 0
    text = (docs / "localization.md").read_text(encoding="utf-8")
    assert "`0123456789ab`" in text and "| training | Eye_L | silver |" in text and "| Parotid_L | 1 |" in text
    drawn = (png.imread(docs / "localization.png")[..., :3] * 255).round().astype(int)
    for key in SITE.values:
        there = (np.abs(drawn - SITE.organ(key).color).max(axis=-1) < 6).sum()
        assert (there > 20) == (key in SMALL), key


def test_a_stopped_run_goes_on_where_it_was(
    pipeline: Pipeline, small_dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of finished cases are taken over while weights and table are the same, and measured again otherwise."""
    monkeypatch.setattr("oarseg.inference.Pipeline", lambda device, engine: pipeline)
    out, unfinished = small_dataset / "boxes.csv", small_dataset / "boxes.csv.unfinished"
    command = ["coverage", str(small_dataset), "--section", "validation", "--out", str(out)]
    assert localization.main(command) == 0
    measured = store.read_boxes(out, SITE)
    marked = [dataclasses.replace(row, reference_cm3=77.0) for row in measured]
    other = [dataclasses.replace(row, case="gone") for row in measured]
    store.write_rows(unfinished, [*marked, *other])
    assert localization.main(command) == 0
    assert store.read_boxes(out, SITE) == marked and not unfinished.exists()
    for change in ({"weights": "another"}, {"rule": "1x1x1 2x2x2"}):
        store.write_rows(unfinished, [dataclasses.replace(row, **change) for row in marked])
        assert localization.main(command) == 0
        assert store.read_boxes(out, SITE) == measured


def test_errors_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert localization.main(["coverage", str(tmp_path / "none")]) == 2
    assert localization.main(["figure", "--boxes", str(tmp_path / "none.csv")]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 2 and all(line.startswith("error: no ") for line in lines)


def test_the_page_is_what_the_stored_results_say() -> None:
    if not (store.BOXES.is_file() and store.SHIFTS.is_file()):
        pytest.skip("no stored results of localization")
    assert localization.main(["figure", "--check"]) == 0
