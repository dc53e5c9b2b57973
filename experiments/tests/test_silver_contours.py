"""What both stages draw for silver labels, and the gap between two contours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from experiments.silver.contours import Drawer, Remembering, contour_files, draw_all, write_label
from experiments.silver.filter import gap_mm
from oarseg.inference.modules import array_networks
from oarseg.sites import load_site

SITE = load_site()


def test_gap() -> None:
    a, b = np.zeros((2, 20, 4, 4), dtype=bool)
    a[2, 1, 1], b[3, 1, 1] = True, True
    assert gap_mm(a, b, np.diag([-4.0, -2, 3, 1])) == 0
    b[3, 1, 1], b[8, 1, 1] = False, True
    assert gap_mm(a, b, np.diag([-4.0, -2, 3, 1])) == pytest.approx(20)


def test_remembering() -> None:
    asked = []

    def count(image: np.ndarray) -> np.ndarray:
        asked.append(image)
        return image + 1

    network = Remembering(count)
    a, b = np.zeros((1, 1, 2, 2, 2)), np.ones((1, 1, 2, 2, 2))
    for image in (a, b, a, b):
        assert np.array_equal(network(image), image + 1)
    assert len(asked) == 2


def test_both_stages_on_the_images_own_voxels(phantom, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("oarseg.inference.bundle.verified", lambda root: (Path("model.pt"), "00"))
    monkeypatch.setattr("oarseg.inference.modules.load_weights", lambda network, path: None)
    drawer = Drawer(None, "cpu", ["eye_left", "parotid_right"])
    first = phantom.ByIntensity([o.value for o in SITE.organs])
    stand_ins = array_networks(first, {o.key: phantom.ByIntensity([o.value]) for o in SITE.organs}, "cpu")
    drawer.localizer.network = stand_ins["localizer"]
    drawer.pipeline.networks = stand_ins | {"localizer": drawer.localizer}
    affine = phantom.centred_affine(np.array([[0, 0, 3.0], [0, -3, 0], [-3, 0, 0]]), (56, 66, 64))
    hu, truth = phantom.draw((56, 66, 64), affine)
    nib.save(nib.Nifti1Image(hu, affine), tmp_path / "ct.nii.gz")
    drawer(tmp_path / "ct.nii.gz", contour_files(tmp_path, "ct"))
    located, drawn = (nib.load(path) for path in contour_files(tmp_path, "ct"))
    np.testing.assert_allclose(drawn.affine, affine, atol=1e-4)
    for key in SITE.values:
        value = SITE.values[key]
        assert phantom.dice(np.asarray(located.dataobj) == value, truth == value) > 0.6, key
        alike = phantom.dice(np.asarray(drawn.dataobj) == value, truth == value)
        assert alike > 0.95 if key in ("eye_left", "parotid_right") else alike == 0
    # Both stages ask for stage 1; it runs once.
    assert len(first.calls) == len(drawer.localizer.passes)


class BlankDraw:
    """Finds nothing."""

    def __call__(self, image: Path, files: Sequence[Path]) -> None:
        for path in files:
            write_label(path, np.zeros((2, 3, 4)), np.eye(4))


@pytest.mark.slow
def test_two_processes(tmp_path: Path) -> None:
    work = [(tmp_path / f"{name}.nii.gz", contour_files(tmp_path, name)) for name in "abc"]
    write_label(work[0][1][0], np.ones((2, 3, 4)), np.eye(4))
    write_label(work[0][1][1], np.ones((2, 3, 4)), np.eye(4))
    assert draw_all(work, BlankDraw, jobs=2) == 2
    assert [int(np.asarray(nib.load(files[1]).dataobj).sum()) for _, files in work] == [24, 0, 0]
    assert not list(tmp_path.rglob(".*"))
    assert draw_all(work, BlankDraw, jobs=2) == 0
