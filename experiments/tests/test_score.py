"""Both methods on a data set, with stand-ins for the networks."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest

from experiments.scores import run as score
from oarseg.evaluation.references import find_label_maps, find_references, pair_cases
from oarseg.evaluation.scores import read_scores
from oarseg.sites import load_site

SITE = load_site()


@pytest.fixture
def by_label(monkeypatch, dataset_dir):
    """Stage 1 finds every organ two voxels off, both stages find them exactly but never the left parotid."""

    def truth(image) -> np.ndarray:
        hu = image.hu
        return np.where((hu > 0) & (hu <= 600), hu // 75, 0).astype(np.uint8)

    class Fake:
        site = SITE

        def __init__(self, bundle_root: str | None, device: str, engine: str) -> None:
            self.device, self.engine = device, engine

        def stage_one(self, image) -> np.ndarray:
            return np.roll(truth(image), 2, 2)

        def segment(self, image) -> SimpleNamespace:
            label = truth(image)
            return SimpleNamespace(label=label * (label != SITE.values["parotid_left"]))

    monkeypatch.setattr(score, "Pipeline", Fake)
    return dataset_dir


def test_both_methods_are_stored(by_label, tmp_path, capsys):
    assert score.main([str(by_label), "--out", str(tmp_path / "r"), "--predictions", str(tmp_path / "p")]) == 0
    one, two = ({(r["case"], r["organ"]): r for r in read_scores(tmp_path / f"r/{m}.csv")} for m in score.METHODS)
    assert one.keys() == two.keys() and len(one) == 8 + 3
    assert one["d", "brainstem"]["centroid_mm"] == pytest.approx(6, abs=1e-3)
    assert two["d", "brainstem"]["dice"] == 1 and two["e", "parotid_left"]["status"] == "missed"
    assert "| Parotid_L | 2 |" in capsys.readouterr().out
    saved = nib.load(tmp_path / "p/two_stage/d.nii.gz")
    reference = nib.load(by_label / "labels/d.nii.gz")
    assert np.allclose(saved.affine, reference.affine)
    kept = np.asarray(reference.dataobj)
    assert np.array_equal(saved.dataobj, kept * (kept != SITE.values["parotid_left"]))
    assert sorted(p.name for p in (tmp_path / "p/stage1").iterdir()) == ["d.nii.gz", "e.nii.gz"]


def test_an_error_is_one_line_and_writes_nothing(by_label, tmp_path, capsys):
    assert score.main([str(by_label), "--section", "none", "--out", str(tmp_path / "r")]) == 2
    assert "no section 'none'" in capsys.readouterr().err and not (tmp_path / "r").exists()


def test_cases_whose_names_have_dots_stay_apart(by_label, tmp_path, monkeypatch, capsys):
    content = json.loads((by_label / "dataset.json").read_text(encoding="utf-8"))
    home = tmp_path / "data"
    for row, name in zip(content["validation"], ("pt.1", "pt.2"), strict=True):
        for kind in ("image", "label"):
            (home / kind).mkdir(parents=True, exist_ok=True)
            shutil.copy(by_label / row[kind], home / kind / f"{name}.nii.gz")
            row[kind] = f"{kind}/{name}.nii.gz"
    (home / "dataset.json").write_text(json.dumps(content), encoding="utf-8")
    assert score.main([str(home), "--out", str(tmp_path / "r"), "--predictions", str(tmp_path / "p")]) == 0
    assert {row["case"] for row in read_scores(tmp_path / "r/two_stage.csv")} == {"pt.1", "pt.2"}
    assert sorted(p.name for p in (tmp_path / "p/stage1").iterdir()) == ["pt.1.nii.gz", "pt.2.nii.gz"]
    # oarseg evaluate calls them the same, and finds what was kept.
    pairs, _ = pair_cases(find_label_maps(tmp_path / "p/stage1"), find_references(home, "validation", None), False)
    assert [(pair.case, pair.prediction.name) for pair in pairs] == [("pt.1", "pt.1.nii.gz"), ("pt.2", "pt.2.nii.gz")]


def test_two_cases_of_one_name_end_the_run_before_the_work(by_label, tmp_path, capsys):
    content = json.loads((by_label / "dataset.json").read_text(encoding="utf-8"))
    content["validation"] *= 2
    for row in content["validation"]:
        for kind in ("image", "label"):
            (tmp_path / row[kind]).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(by_label / row[kind], tmp_path / row[kind])
    (tmp_path / "dataset.json").write_text(json.dumps(content), encoding="utf-8")
    assert score.main([str(tmp_path), "--out", str(tmp_path / "r")]) == 2
    assert "called 'd'" in capsys.readouterr().err and not (tmp_path / "r").exists()
