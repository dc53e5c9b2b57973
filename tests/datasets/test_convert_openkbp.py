"""OpenKBP's CSV files come out with their axes turned to the patient's, and damaged ones are refused."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from oarseg.datasets.convert import convert, plan
from oarseg.datasets.convert.openkbp import list_openkbp
from oarseg.errors import InputError
from oarseg.sites import load_site

SITE = load_site()


def save_openkbp(folder: Path, volumes: dict[str, np.ndarray], spacing: str = "3.5\n3.5\n2.5\n") -> None:
    """Volumes (posterior, left, inferior) of 128 each as the set has them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, volume in volumes.items():
        index = np.flatnonzero(volume)
        rows = [f"{i},{float(volume.flat[i])}" if name == "ct" else f"{i}," for i in index]
        (folder / f"{name}.csv").write_text("\n".join([",data", *rows]) + "\n")
    (folder / "voxel_dimensions.csv").write_text(spacing)


def openkbp_volumes() -> dict[str, np.ndarray]:
    """Boxes. Row, column and slice count towards posterior, left, inferior."""
    names = ("ct", "Brainstem", "LeftParotid", "RightParotid")
    volumes = {name: np.zeros((128, 128, 128), dtype=np.int32) for name in names}
    volumes["ct"][40:90, 40:90, 30:80] = 1040
    volumes["ct"][50:52, 50:52, 60:62] = 2200
    volumes["Brainstem"][65:70, 62:66, 37:50] = 1
    volumes["LeftParotid"][60:66, 78:86, 55:68] = 1
    volumes["RightParotid"][60:66, 45:50, 54:66] = 1
    return volumes


def test_openkbp_axes_and_values(tmp_path):
    volumes = openkbp_volumes() | {"PTV70": openkbp_volumes()["Brainstem"], "dose": openkbp_volumes()["ct"]}
    save_openkbp(tmp_path / "in" / "provided-data" / "train-pats" / "pt_1", volumes)
    work = plan("openkbp", tmp_path / "in", tmp_path / "out", SITE)
    assert work.listing.unknown == {"PTV70": 1}
    outcome = convert(work)
    (row,) = [row for rows in outcome.rows.values() for row in rows]
    assert outcome.failed == {} and row["patient"] == "pt_1"
    image, label = (nib.load(tmp_path / "out" / row[part]) for part in ("image", "label"))
    assert nib.aff2axcodes(image.affine) == ("L", "P", "S") and row["spacing_mm"] == [3.5, 3.5, 2.5]
    # Row 65, column 62, slice 37 by hand.
    voxels = np.asarray(label.dataobj)
    assert voxels[62, 65, 127 - 37] == 1 and voxels[78, 60, 127 - 55] == 7 and voxels[45, 60, 127 - 54] == 8
    assert [int((voxels == v).sum()) for v in (1, 7, 8)] == [5 * 4 * 13, 6 * 8 * 13, 6 * 5 * 12]
    hu = np.asarray(image.dataobj)
    assert hu[50, 50, 127 - 60] == 1200 and hu[41, 41, 127 - 31] == 40 and hu[0, 0, 0] == -1000
    # In the patient: the left parotid left of the right one, the brainstem above both.
    centre = {v: nib.affines.apply_affine(label.affine, np.argwhere(voxels == v).mean(axis=0)) for v in (1, 7, 8)}
    assert centre[7][0] < centre[8][0] and centre[1][2] > max(centre[7][2], centre[8][2])


@pytest.mark.parametrize(
    "file, text, said",
    [
        ("Brainstem.csv", ",data\n2097152,\n", "indices from 0 to 2097151"),
        ("Brainstem.csv", ",data\n5,\n5,\n", "each once"),
        ("Brainstem.csv", "data\n5,\n", "begins with 'data'"),
        ("Brainstem.csv", ",data\nfive,\n", "cannot be read as CSV file of OpenKBP"),
        ("ct.csv", ",data\n5,nan\n", "expected 0 to 4095"),
        ("voxel_dimensions.csv", "3.5 3.5\n", "expected three positive"),
        ("voxel_dimensions.csv", "3.5 -3.5 2.5\n", "expected three positive"),
    ],
)
def test_openkbp_damaged_files(file, text, said, tmp_path):
    save_openkbp(tmp_path / "in" / "pt_1", openkbp_volumes())
    (tmp_path / "in" / "pt_1" / file).write_text(text)
    case = list_openkbp(tmp_path / "in").cases[0]
    with pytest.raises(InputError, match=said):
        list(case.load().masks)
