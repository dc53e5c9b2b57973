"""The picture shows the patient the way radiology does, at levels that show every organ."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from matplotlib import image as png
from matplotlib.figure import Figure

from oarseg.inference.report.content import measure
from oarseg.inference.report.preview import (
    AXIAL,
    CORONAL,
    SAGITTAL,
    areas,
    choose_levels,
    draw_slice,
    lps_view,
    picture,
    shown_box,
    write_preview,
)
from oarseg.sites import load_site

SITE = load_site("head_neck")
RAS = np.diag([2.0, 2.5, 3.0, 1.0])
# Index in a RAS array (40, 50, 30) of a spot that is left, in front and up.
SPOT = (6, 41, 24)


def scan(codes: str = "RAS") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """HU, label and affine with the axes of ``codes``: an eye's label at SPOT, a mandible's in the lower half."""
    hu = np.full((40, 50, 30), -1000, dtype=np.int16)
    hu[4:36, 4:46, 2:28] = 30
    label = np.zeros(hu.shape, dtype=np.uint8)
    label[4:9, 38:44, 22:27] = SITE.values["eye_left"]
    label[10:30, 30:40, 5:9] = SITE.values["mandible"]
    hu[SPOT] = 1500
    image = nib.Nifti1Image(hu, RAS)
    turn = nib.orientations.ornt_transform(nib.io_orientation(RAS), nib.orientations.axcodes2ornt(codes))
    turned = image.as_reoriented(turn)
    return np.asarray(turned.dataobj), nib.orientations.apply_orientation(label, turn), turned.affine


@pytest.mark.parametrize("codes", ["RAS", "LPS", "SPL", "ILA", "PSR"])
def test_left_is_on_the_right_front_and_top_are_up(codes):
    view = lps_view(*scan(codes))
    assert view.hu.shape == (40, 50, 30) and view.spacing == pytest.approx((2.0, 2.5, 3.0))
    x, y, z = (int(v) for v in np.argwhere(view.hu == 1500)[0])
    assert (x, y, z) == (39 - 6, 49 - 41, 24)
    for plane, index, right, down in ((AXIAL, z, x, y), (CORONAL, y, x, 29 - z), (SAGITTAL, x, y, 29 - z)):
        row, column = np.argwhere(picture(view.hu, plane, index) == 1500)[0]
        assert (row, column) == (down, right), plane.name
    # LPS mm of the spot: RAS is (12, 102.5, 72).
    assert [view.position(a, i) for a, i in enumerate((x, y, z))] == pytest.approx([-12, -102.5, 72])
    eye = view.boxes[SITE.values["eye_left"]]
    assert all(s.start <= i < s.stop for s, i in zip(eye, (x, y, z), strict=True))
    assert (view.label[eye] == SITE.values["eye_left"]).all()


def test_levels_show_every_organ():
    view = lps_view(*scan())
    levels = choose_levels(areas(view, AXIAL), 4)
    assert any(5 <= i < 9 for i in levels) and any(22 <= i < 27 for i in levels) and len(levels) == 2
    shares = np.zeros((3, 20))
    shares[0, 2:9], shares[1, 8], shares[2, 15] = 0.9, 1.0, 1.0
    assert choose_levels(shares, 4) == [8, 15]
    assert choose_levels(shares, 1) == [8]


def test_without_an_organ_the_middle_is_shown():
    hu, label, affine = scan()
    view = lps_view(hu, np.zeros_like(label), affine)
    assert choose_levels(areas(view, AXIAL), 4) == [15]
    assert shown_box(view) == ((0, 40), (0, 50), (0, 30))


@pytest.mark.parametrize("empty", [False, True])
def test_the_picture_is_drawn_in_the_colours_of_the_table(empty, tmp_path):
    hu, label, affine = scan("SPL")
    label = label * (not empty)
    view = lps_view(hu, label, affine)
    write_preview(tmp_path / "p.png", view, SITE, measure(label, affine, SITE), ["eye_left", "mandible"])
    drawn = (png.imread(tmp_path / "p.png")[..., :3] * 255).round().astype(int)
    assert drawn.shape[0] > 600
    for key in ("eye_left", "mandible", "brainstem"):
        there = (np.abs(drawn - SITE.organ(key).color).max(axis=-1) < 6).sum()
        assert (there > 50) == (key != "brainstem"), key


@pytest.mark.parametrize(
    "degrees, told",
    [(4, "axial, z ="), (20, "axial but 20 degrees oblique, z ="), (-20, "axial but 20 degrees oblique, z =")],
)
def test_planes_of_an_oblique_scan_are_not_called_axial_alone(degrees, told):
    hu, label, affine = scan("SPL")
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = np.array([[1, 0, 0, 0], [0, cos, -sin, 0], [0, sin, cos, 0], [0, 0, 0, 1]])
    view = lps_view(hu, label, turn @ affine)
    axes = Figure().add_subplot()
    draw_slice(axes, view, AXIAL, 15, shown_box(view))
    assert any(text.get_text().startswith(told) for text in axes.texts)
