"""The synthetic planning CT: the average's anatomy on a grid of any size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from oarseg.demo.planning_ct import FOLDER, enlarged, main, write_planning_ct
from oarseg.dicom import read_ct
from oarseg.errors import InputError
from oarseg.transforms import Grid

SHAPE, SPACING = (12, 40, 44), (25.0, 10.0, 9.0)


def test_it_is_a_ct_series(tmp_path: Path) -> None:
    ct = read_ct(write_planning_ct(tmp_path / "ct", SHAPE, SPACING))
    assert ct.shape == SHAPE and ct.spacing_mm == SPACING and ct.warnings == ()
    assert ct.hu.dtype == np.int16 and ct.frame_of_reference_uid
    again = read_ct(write_planning_ct(tmp_path / "again", SHAPE, SPACING, jpeg2000=True))
    np.testing.assert_array_equal(again.hu, ct.hu)
    assert again.series_uid == ct.series_uid


def test_the_head_is_where_it_was() -> None:
    """Measured from the top of the head and the middle of the slices; air beside, the last slice goes on below."""
    average = read_ct(FOLDER)
    grid = Grid((0.0,) * 3, average.spacing_mm, average.shape)
    found = enlarged(average.hu, grid, (100, 128, 128), (4.0, 4.0, 4.0))
    centre = []
    for hu, spacing in ((average.hu, average.spacing_mm), (found, (4.0, 4.0, 4.0))):
        head = hu[-int(150 / spacing[0]) :] > 300
        index = np.argwhere(head).mean(axis=0) - [len(head), hu.shape[1] / 2, hu.shape[2] / 2] + 0.5
        centre.append(index * spacing)
    np.testing.assert_allclose(*centre, atol=2.5)
    assert found[:, :2].mean() == pytest.approx(-1000, abs=2) and found[:, :2].std() == pytest.approx(10, abs=1)
    tissue = (found > -500).sum(axis=(1, 2))
    assert abs(tissue[0] - tissue[20]) < 0.02 * tissue[0], "below the average's end its last slice goes on"


def test_an_occupied_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(InputError, match="is not empty"):
        write_planning_ct(tmp_path, SHAPE, SPACING)
    assert main([str(tmp_path)]) == 2 and "is not empty" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]
