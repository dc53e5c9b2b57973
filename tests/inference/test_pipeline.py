"""The whole pipeline as an object: from a CT in any orientation to labels on its own voxels, with warnings."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from oarseg.bundles import FOLDER
from oarseg.checksum import part_files
from oarseg.errors import ConfigError, WeightsError
from oarseg.inference import Pipeline
from oarseg.inference.report.content import implausibilities, measure
from oarseg.sites import load_site

SITE = load_site()
DIRECTIONS = {
    "LPS": (np.diag([-3.0, -3, 3]), (64, 66, 56)),
    "RAS": (np.diag([3.0, 3, 3]), (64, 66, 56)),
    "IPR": (np.array([[0, 0, 3.0], [0, -3, 0], [-3, 0, 0]]), (56, 66, 64)),
}


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_labels_lie_on_the_images_own_voxels(direction: str, pipeline: Pipeline, phantom) -> None:
    matrix, shape = DIRECTIONS[direction]
    image, label = phantom.tensors(shape, phantom.centred_affine(matrix, shape))
    found = pipeline.segment(image)
    assert found.missing == {}
    assert found.label.shape == shape and found.label.dtype == np.uint8
    np.testing.assert_allclose(found.affine, image.affine)
    truth = label.as_tensor().numpy()[0]
    for key, value in SITE.values.items():
        assert phantom.dice(found.label == value, truth == value) > 0.95, key
        # Boxes are in the world's millimetres, low corner first, around the organ.
        low, high = found.boxes[key]
        where = np.argwhere(truth == value) @ found.affine[:3, :3].T + found.affine[:3, 3]
        assert (low <= where.min(axis=0)).all() and (where.max(axis=0) <= high).all()
        assert (high - low).max() < 170


def test_unknown_device_and_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown device 'quantum'"):
        Pipeline(device="quantum")
    with pytest.raises(ConfigError, match="not a bundle"):
        Pipeline(str(tmp_path), "cpu")


def test_missing_weights(tmp_path: Path) -> None:
    from oarseg.bundles.render import sync

    sync(SITE, tmp_path)
    with pytest.raises(WeightsError, match="weights missing"):
        Pipeline(str(tmp_path / "hn_ct_two_stage"), "cpu")


def test_a_damaged_compressed_localizer_is_refused_at_once(tmp_path: Path) -> None:
    """Not when a CT has been read."""
    pytest.importorskip("openvino", reason="openvino is not installed")
    root = shutil.copytree(FOLDER / "hn_ct_two_stage", tmp_path / "bundle")
    for part in part_files(FOLDER / "hn_ct_two_stage").values():
        (tmp_path / part.parents[1].name).symlink_to(part.parents[1])
    path = root / "models" / "compressed" / "localizer.packed"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(WeightsError, match=r"localizer\.packed"):
        Pipeline(root, "cpu", ["mandible"], "openvino")


def warnings_of(label: np.ndarray, affine: np.ndarray) -> list[str]:
    return implausibilities(measure(label, affine, SITE), SITE)


def test_plausibility() -> None:
    affine = np.diag([-2.0, -2, 2, 1])
    label = np.zeros((80, 60, 60), dtype=np.uint8)
    # 8 mm3 a voxel: 8 cm3 are 1000. Index 0 grows towards left.
    label[60:70, 10:20, 10:20], label[10:20, 10:20, 10:20] = 2, 3
    assert warnings_of(label, affine) == []
    swapped = np.select([label == 2, label == 3], [3, 2], 0).astype(np.uint8)
    (warning,) = warnings_of(swapped, affine)
    assert "left eye lies to the right of right eye" in warning
    # The same exchanged label map is right where index 0 grows towards right.
    assert warnings_of(swapped, np.diag([2.0, -2, 2, 1])) == []
    label[30:32, 30:32, 30:32] = 4
    (warning,) = warnings_of(label, affine)
    assert warning.startswith("mandible: 0.1 cm3")
