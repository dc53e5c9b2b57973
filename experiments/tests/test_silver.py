"""Silver labels by self-training: the filter, the choice between opinions, and the folder that training reads."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from experiments.silver.choice import Opinions, Verdict, choose
from experiments.silver.contours import contour_files, write_label
from experiments.silver.filter import Scan, eyes_apart
from experiments.silver.run import make_silver, parse
from oarseg.datasets import load_datalist
from oarseg.datasets.silver_list import read_silver
from oarseg.errors import ConfigError, GeometryError, InputError, OutputError
from oarseg.inference.report.content import measure
from oarseg.sites import load_site

SITE = load_site()
ORGANS = ["eye_left", "eye_right", "optic_nerve_left", "optic_nerve_right"]
VALUES = {key: SITE.values[key] for key in ORGANS}
SHAPE = (60, 60, 40)
AFFINE = np.diag([-2.5, -2.5, 2.5, 1.0])
# Millimetres from the middle of the eyes: left, posterior, superior; half axes.
HEAD = {
    "eye_left": ((31, 0, 0), (12, 12, 12)),
    "eye_right": ((-31, 0, 0), (12, 12, 12)),
    "optic_nerve_left": ((22, 22, 0), (4, 12, 4)),
    "optic_nerve_right": ((-22, 22, 0), (4, 12, 4)),
}


def head(**moved: tuple[float, float, float]) -> np.ndarray:
    """A label map (i, j, k) of two eyes and two nerves, LPS axes of 2.5 mm; organs may be moved by mm or left out."""
    at = (np.moveaxis(np.indices(SHAPE), 0, -1) - [30, 20, 20]) * 2.5
    label = np.zeros(SHAPE, dtype=np.uint8)
    # Nerves first, so that an eye is whole where they meet.
    for key in reversed(HEAD):
        middle, axes = HEAD[key]
        shift = moved.get(key, (0, 0, 0))
        if shift is not None:
            label[(((at - np.add(middle, shift)) / axes) ** 2).sum(-1) <= 1] = VALUES[key]
    return label


def opinions(
    stage2: np.ndarray, former: np.ndarray | None = None, own: np.ndarray | None = None,
    labelled: Sequence[str] = (), stage1: np.ndarray | None = None, hu: np.ndarray | None = None,
) -> Opinions:  # fmt: skip
    former = np.zeros_like(stage2) if former is None else former
    origins = {key: "propagated" for key in ORGANS if key not in labelled and (former == VALUES[key]).any()}
    scan = Scan(np.zeros(stage2.shape, dtype=np.int16) if hu is None else hu, AFFINE)
    own = np.zeros_like(stage2) if own is None else own
    return Opinions(scan, own, labelled, former, origins, stage2 if stage1 is None else stage1, stage2)


def outcomes(verdicts: list[Verdict]) -> dict[str, tuple[str, str | None]]:
    return {v.organ: (v.outcome, v.reason) for v in verdicts}


def judged(stage2: np.ndarray, organ: str, **more: object) -> tuple[str, str | None]:
    return outcomes(choose(opinions(stage2, **more), SITE, ORGANS)[2])[organ]


def test_a_plausible_head_is_taken_whole() -> None:
    label, origins, verdicts = choose(opinions(head()), SITE, ORGANS)
    assert origins == dict.fromkeys(ORGANS, "network")
    assert {v.outcome for v in verdicts} == {"accepted"} and all(v.stages_dice == 1 for v in verdicts)
    np.testing.assert_array_equal(label, head())


@pytest.mark.parametrize(
    ("moved", "organ", "reason"),
    [
        ({"eye_left": None}, "eye_left", "not found"),
        ({"eye_left": (22, 0, 0)}, "eye_right", "eyes too near or far"),
        ({"eye_left": (0, 0, 15)}, "eye_left", "eyes not level"),
        ({"eye_left": (0, -15, 0)}, "eye_left", "eyes not level"),
        ({"optic_nerve_left": (0, 15, 0)}, "optic_nerve_left", "apart from its eye"),
        ({"optic_nerve_left": (4, -10, 13)}, "optic_nerve_left", "not level with its eye"),
        ({"optic_nerve_left": (-40, 0, 0)}, "optic_nerve_left", "left and right exchanged"),
        ({"optic_nerve_left": (19, -6, 0)}, "optic_nerve_left", "not on the nose's side of its eye"),
        ({"optic_nerve_left": (9, -42, 0)}, "optic_nerve_left", "not behind its eye"),
        ({"eye_left": None}, "optic_nerve_left", "no eye to go by"),
    ],
)
def test_what_is_out_of_place_is_dropped(moved: dict, organ: str, reason: str) -> None:
    assert judged(head(**moved), organ) == ("dropped", reason)


def test_any_organ_of_the_table(phantom) -> None:
    """Organs without rules of their own are judged by volume, pieces, sides and the agreement of the stages."""
    keys = ["brainstem", "parotid_left", "parotid_right"]
    _, truth = phantom.draw(phantom.shape, phantom.lps_affine())
    scan = Scan(np.zeros(truth.shape, np.int16), phantom.lps_affine())
    nothing = np.zeros_like(truth)

    def drawn(label: np.ndarray) -> tuple[np.ndarray, dict, list[Verdict]]:
        return choose(Opinions(scan, nothing, (), nothing, {}, label, label), SITE, keys)

    label, origins, verdicts = drawn(truth)
    assert origins == dict.fromkeys(keys, "network") and {v.organ for v in verdicts} == set(keys)
    np.testing.assert_array_equal(label, truth * np.isin(truth, [SITE.values[key] for key in keys]))
    swapped = np.array([0, 1, 2, 3, 4, 5, 6, 8, 7], np.uint8)[truth]
    found = outcomes(drawn(swapped)[2])
    assert found["brainstem"] == ("accepted", None)
    assert found["parotid_left"] == found["parotid_right"] == ("dropped", "left and right exchanged")


def test_exchanged_eyes() -> None:
    swapped = np.array([0, 1, 3, 2, 4, 5, 6], dtype=np.uint8)[head()]
    assert judged(swapped, "eye_right") == ("dropped", "left and right exchanged")
    measures = measure(head(), AFFINE, SITE)
    assert eyes_apart(measures["eye_left"], measures["eye_right"]) is None


def test_volume_pieces_and_unlike_eyes() -> None:
    label = head()
    left = label == VALUES["eye_left"]
    label[left & (np.indices(SHAPE)[2] > 18)] = 0
    assert judged(label, "eye_left") == ("dropped", "volume too small")
    label = head()
    label[(label == VALUES["eye_left"]) & (np.indices(SHAPE)[2] == 20)] = 0
    assert judged(label, "eye_left") == ("dropped", "several pieces")
    small = head(eye_right=None)
    small[17:21, 16:24, 16:24] = VALUES["eye_right"]
    small[17:19, 15, 16:24] = VALUES["eye_right"]
    assert judged(small, "eye_left") == ("dropped", "eyes unlike in volume")


def test_crumbs_do_not_become_labels() -> None:
    label = head()
    label[2:4, 2:4, 2] = VALUES["eye_left"]
    out, origins, _ = choose(opinions(label), SITE, ORGANS)
    assert "eye_left" in origins and not out[:5, :5].any()


def test_short_nerves() -> None:
    label = head()
    label[(label == VALUES["optic_nerve_right"]) & (np.indices(SHAPE)[1] > 30)] = 0
    assert judged(label, "optic_nerve_right") == ("dropped", "too short")
    assert judged(label, "optic_nerve_right", former=head()) == ("kept", "too short")


def test_former_labels_that_nobody_vouches_for() -> None:
    given = opinions(head(eye_left=None), former=head())
    trusted = Opinions(given.scan, given.own, [], head(), {"eye_right": "propagated"}, given.stage1, given.stage2)
    assert outcomes(choose(trusted, SITE, ORGANS)[2])["eye_left"] == ("dropped", "not found")


def test_end_of_the_scan() -> None:
    hu = np.zeros(SHAPE, dtype=np.int16)
    hu[:, :, 25:] = -1000
    assert judged(head(), "eye_left", hu=hu) == ("dropped", "cut off")
    # The former label came from elsewhere and stays.
    assert judged(head(), "eye_left", hu=hu, former=head()) == ("kept", "cut off")
    hu[:, :, 25:28] = 0
    assert judged(head(), "eye_left", hu=hu) == ("accepted", None)


def test_stages_that_disagree() -> None:
    first = head(eye_left=(6, 0, 6), optic_nerve_right=(0, 0, 7.5))
    assert judged(head(), "eye_left", stage1=first) == ("dropped", "stages disagree")
    assert judged(head(), "eye_right", stage1=first) == ("accepted", None)
    assert judged(head(), "optic_nerve_right", stage1=first) == ("dropped", "stages disagree")


def test_the_former_label_stays_only_where_it_alone_is_good() -> None:
    assert judged(head(eye_left=None), "eye_left", former=head()) == ("kept", "not found")
    label, origins, _ = choose(opinions(head(eye_left=None), former=head()), SITE, ORGANS)
    assert origins["eye_left"] == "propagated" and origins["eye_right"] == "network"
    np.testing.assert_array_equal(label == VALUES["eye_left"], head() == VALUES["eye_left"])
    away = head(eye_left=(0, 0, 11), eye_right=(0, 0, 11))
    assert judged(head(), "eye_left", former=away) == ("dropped", "far from the former")
    near = choose(opinions(head(), former=head(eye_left=(2.5, 0, 0))), SITE, ["eye_left"])[2][0]
    assert near.outcome == "accepted" and near.former_mm == pytest.approx(2.5) and 0.8 < near.former_dice < 0.95
    # The network's must not be smaller, or labels would shrink round after round.
    lean = head()
    lean[(lean == VALUES["optic_nerve_left"]) & (np.indices(SHAPE)[0] > 38)] = 0
    assert judged(lean, "optic_nerve_left") == ("accepted", None)
    assert judged(lean, "optic_nerve_left", former=head()) == ("kept", "smaller than the former")
    tiny = np.where(np.indices(SHAPE)[2] == 20, head(), 0).astype(np.uint8)
    assert judged(head(eye_left=None), "eye_left", former=tiny) == ("dropped", "not found")


def test_own_labels_are_never_replaced() -> None:
    own = head(eye_left=(0, 0, 2.5), eye_right=None, optic_nerve_left=None, optic_nerve_right=None)
    own[own == 0] = np.where(head()[own == 0] == VALUES["optic_nerve_right"], 1, 0)
    label, origins, verdicts = choose(opinions(head(), own=own, labelled=["eye_left", "brainstem"]), SITE, ORGANS)
    np.testing.assert_array_equal(label == VALUES["eye_left"], own == VALUES["eye_left"])
    np.testing.assert_array_equal(label == 1, own == 1)
    # The case's brainstem lies where the network put the right nerve.
    assert origins == {"eye_right": "network", "optic_nerve_left": "network"}
    assert outcomes(verdicts)["eye_left"] == ("own", None)


def test_organs_that_nobody_asked_about_stay() -> None:
    label, origins, verdicts = choose(opinions(head(), former=head(eye_right=(2.5, 0, 0))), SITE, ["eye_left"])
    assert origins == {"eye_left": "network"} | dict.fromkeys(ORGANS[1:], "propagated")
    assert [v.organ for v in verdicts] == ["eye_left"]
    assert (label == VALUES["eye_right"]).sum() == (head() == VALUES["eye_right"]).sum()


class Fake:
    """Draws what a list says, and counts."""

    def __init__(self, drawn: dict[str, np.ndarray], calls: list[str]) -> None:
        self.drawn, self.calls = drawn, calls

    def __call__(self, image: Path, files: Sequence[Path]) -> None:
        self.calls.append(image.name)
        for path in files:
            write_label(path, self.drawn[image.name], AFFINE)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Three training cases: expert eyes, a brainstem with propagated eyes, a brainstem alone."""
    folder = tmp_path / "data"
    brain = np.zeros(SHAPE, dtype=np.uint8)
    brain[28:33, 40:45, 15:25] = 1
    maps = {"expert": head(), "old": brain, "new": brain}
    rows = []
    for name, label in maps.items():
        write_label(folder / "labels" / f"{name}.nii.gz", label, AFFINE)
        (folder / "images").mkdir(exist_ok=True)
        nib.save(nib.Nifti1Image(np.zeros(SHAPE, np.int16), AFFINE), folder / "images" / f"{name}.nii.gz")
        labelled = ORGANS if name == "expert" else ["brainstem"]
        rows.append({"image": f"images/{name}.nii.gz", "label": f"labels/{name}.nii.gz", "labelled": labelled})
    write_label(folder / "old.nii.gz", np.maximum(brain, head(eye_left=(0, 0, 2.5))), AFFINE)
    rows[1] |= {"label_propagated": "old.nii.gz", "propagated": ["eye_left", "eye_right"]}
    content = {"training": rows, "validation": rows[:1]}
    (folder / "dataset.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


@pytest.fixture
def run(dataset: Path, tmp_path: Path) -> Callable[..., tuple[dict, list[str]]]:
    drawn = {"expert.nii.gz": head(eye_left=(5, 0, 0)), "old.nii.gz": head(eye_left=None), "new.nii.gz": head()}
    calls: list[str] = []

    def start(out: str = "out", source: str = "abc", **more: object) -> tuple[dict, list[str]]:
        calls.clear()
        fake = Fake(drawn, calls)
        return make_silver(dataset, tmp_path / out, SITE, ORGANS, {"sha256": source}, lambda: fake, **more), calls

    start.drawn = drawn
    return start


def test_the_folder_trains(run: Callable, dataset: Path, tmp_path: Path) -> None:
    verdicts, calls = run()
    assert calls == ["expert.nii.gz", "old.nii.gz", "new.nii.gz"]
    assert outcomes(verdicts["old"])["eye_left"] == ("kept", "not found")
    silver = str(tmp_path / "out")
    expert, again, old, new = load_datalist(dataset, "training", silver=silver, expert_repeat=2)
    assert Path(expert["label"]) == dataset.resolve() / "labels" / "expert.nii.gz" and again == expert
    # The left nerve has a kept eye to stand at; the network's own left eye is missing.
    assert old["labelled"] == new["labelled"] == ["brainstem", *ORGANS]
    assert read_silver(silver).cases["images/old.nii.gz"].organs["eye_left"] == "propagated"
    image = nib.load(new["label"])
    np.testing.assert_allclose(image.affine, AFFINE)
    label = np.asarray(image.dataobj)
    assert label.dtype == np.uint8 and set(np.unique(label)) == {0, 1, *VALUES.values()}
    assert "| eye_left | 1 | 1 | 1 | 0 | 2 |" in (tmp_path / "out" / "report.md").read_text(encoding="utf-8")


def test_an_interrupted_run_goes_on(run: Callable, tmp_path: Path) -> None:
    run.drawn.pop("new.nii.gz")
    with pytest.raises(KeyError):
        run()
    assert not (tmp_path / "out" / "silver.json").exists()
    run.drawn["new.nii.gz"] = head()
    assert run()[1] == ["new.nii.gz"]
    assert run()[1] == []
    with pytest.raises(ConfigError, match="contours made with other sha256"):
        run(source="other")


def test_a_run_does_not_go_on_with_another_data_set(run: Callable, dataset: Path) -> None:
    run()
    content = json.loads((dataset / "dataset.json").read_text(encoding="utf-8"))
    content["training"][2]["labelled"] = ["mandible"]
    (dataset / "dataset.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ConfigError, match="contours made with other dataset"):
        run()


def test_a_second_round(run: Callable, dataset: Path, tmp_path: Path) -> None:
    run()
    run.drawn["new.nii.gz"] = head(eye_left=None)
    verdicts, _ = run("out2", former=tmp_path / "out")
    assert outcomes(verdicts["new"])["eye_left"] == ("kept", "not found")
    second = read_silver(tmp_path / "out2")
    assert second.round == 2 and second.cases["images/new.nii.gz"].organs["eye_left"] == "network"


def test_refusals(run: Callable, dataset: Path, tmp_path: Path) -> None:
    for section in ("validation", "test"):
        with pytest.raises(ConfigError, match="silver labels never score"):
            run(section=section)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").touch()
    with pytest.raises(OutputError, match="not empty and holds no source.json"):
        run("full")
    run()
    with pytest.raises(ConfigError, match="for section 'training', not for 'validation'"):
        load_datalist(dataset, "validation", silver=str(tmp_path / "out"))
    with pytest.raises(SystemExit):
        parse(["a", "b", "--jobs", "0"])


def test_contours_of_another_grid(run: Callable, tmp_path: Path) -> None:
    run()
    path = contour_files(tmp_path / "out", "new")[1]
    write_label(path, np.zeros((4, 4, 4)), AFFINE)
    with pytest.raises(GeometryError, match="new.nii.gz .* not on its image's grid"):
        run()


@pytest.mark.parametrize("damage", ["cut", "no image", "checksum"])
def test_a_contour_that_is_not_whole_is_drawn_again(damage: str, run: Callable, tmp_path: Path, capsys) -> None:
    first, _ = run()
    path = contour_files(tmp_path / "out", "new")[1]
    whole = path.read_bytes()
    path.write_bytes({"cut": whole[:-200], "no image": b"no image", "checksum": whole[:-8] + bytes(8)}[damage])
    again, calls = run()
    assert calls == ["new.nii.gz"] and again == first
    assert "stage2/new.nii.gz is not whole" in capsys.readouterr().err


def test_labels_that_cannot_be_read(run: Callable, dataset: Path) -> None:
    (dataset / "labels" / "new.nii.gz").write_bytes(b"no image")
    with pytest.raises(InputError, match="new.nii.gz cannot be read"):
        run()
