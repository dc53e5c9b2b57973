"""RTSTRUCT to label map: the very mask back, names matched letter by letter, and nothing guessed."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path

import numpy as np
import pydicom
import pytest
from deflated import inflate_more
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.tag import Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid

from oarseg.dicom.read.structure_set import RTSTRUCT_CLASS, draw, is_rtstruct, read_rtstruct
from oarseg.errors import ConfigError, GeometryError, InputError
from oarseg.geometry.label_map import LabelMap
from oarseg.sites import load_site
from oarseg.sites.roi_names import load_names

SITE = load_site()
NAMES = load_names(SITE)


def grid_of(label: np.ndarray, affine: np.ndarray) -> LabelMap:
    return LabelMap(np.zeros(label.shape, np.int16), affine)


def test_the_mask_that_was_written_comes_back(scan, save_plan, tmp_path):
    label, affine = scan
    # A hole, which the writer keyholes, and a second piece.
    label[22, 20:24, 30:33][label[22, 20:24, 30:33] > 0] = 0
    middle = np.argwhere(label == SITE.values["brainstem"]).mean(axis=0).round().astype(int)
    label[tuple(middle)] = 0
    label[5, 5:8, 5:8] = SITE.values["mandible"]
    path = save_plan(tmp_path / "plan.dcm", label, affine)
    found = read_rtstruct(path, grid_of(label, affine), SITE, NAMES)
    assert np.array_equal(found.label_map.label, label)
    # Far pieces are told of: slices may have been lost between them.
    assert set(found.organs) == set(SITE.values)
    assert [note.split(":")[0] for note in found.notes] == ["plan.dcm, Bone_Mandible"] and "have none" in found.notes[0]
    # On the same voxels in another order, too.
    flip = affine[:, [2, 1, 0, 3]]
    turned = read_rtstruct(path, grid_of(label.transpose(2, 1, 0), flip), SITE, NAMES)
    assert np.array_equal(turned.label_map.label, label.transpose(2, 1, 0))


def square(z: float, low: float, high: float) -> np.ndarray:
    """Corners, LPS mm, of a square in the plane z."""
    return np.array([[low, low, z], [high, low, z], [high, high, z], [low, high, z]])


def test_a_square_by_hand():
    # LPS axes of 2 mm: index = mm / 2.
    grid = LabelMap(np.zeros((20, 20, 10), np.uint8), np.diag([-2.0, -2.0, 2.0, 1.0]))
    mask, notes = draw([square(6, 5, 15)], grid, "roi")
    assert notes == [] and mask[3:8, 3:8, 3].all() and mask.sum() == 25
    # A square within a square is a hole.
    ring, _ = draw([square(6, 5, 15), square(6, 7, 13)], grid, "roi")
    assert ring.sum() == 25 - 9 and not ring[5, 5, 3]
    assert not draw([square(6, 5.1, 5.9)], grid, "roi")[0].any()
    # The outermost voxels reach half a voxel beyond their centres.
    assert draw([square(0, 31, 39)], grid, "roi")[0][16:, 16:, 0].all()


def test_a_contour_that_stands_twice_counts_once():
    grid = LabelMap(np.zeros((20, 20, 10), np.uint8), np.diag([-2.0, -2.0, 2.0, 1.0]))
    mask, notes = draw([square(6, 5, 15), square(6, 5, 15)], grid, "roi")
    assert mask.sum() == 25 and notes == ["roi: 1 contours stand twice and count once"]


def test_contours_of_thicker_slices_are_refused_and_gaps_told_of():
    grid = LabelMap(np.zeros((20, 20, 30), np.uint8), np.diag([-2.0, -2.0, 2.0, 1.0]))
    with pytest.raises(GeometryError, match="contours lie 2 slices apart"):
        draw([square(z, 5, 15) for z in range(0, 40, 4)], grid, "roi")
    mask, notes = draw([square(z, 5, 15) for z in (2, 4, 6, 10, 12)], grid, "roi")
    assert mask.sum() == 5 * 25 and notes == ["roi: 1 slice(s) between its contours have none"]


def test_contours_off_the_grid_are_refused():
    grid = LabelMap(np.zeros((20, 20, 10), np.uint8), np.diag([-2.0, -2.0, 2.0, 1.0]))
    for contour, said in (
        (square(7.0, 5, 15), "lies on slice 3.50"),
        (square(-2.0, 5, 15), "leaves the grid"),
        (square(20.0, 5, 15), "leaves the grid"),
        (square(0.0, 31, 99), "leaves the grid"),
        (square(6.0, 505, 515), "leaves the grid"),
    ):
        with pytest.raises(GeometryError, match=f"roi: a contour {said}"):
            draw([contour], grid, "roi")
    with pytest.raises(GeometryError, match="oblique"):
        draw([square(6, 5, 15) + [[0, 0, 0], [0, 0, 5], [0, 0, 5], [5, 5, 0]]], grid, "roi")


def test_names_are_the_tables_or_the_users(scan, save_plan, tmp_path):
    label, affine = scan
    names = {"parotid_left": "Parotis li", "mandible": "Jaw", "brainstem": "Stem new"}
    path, grid = save_plan(tmp_path / "plan.dcm", label, affine, names), grid_of(label, affine)
    found = read_rtstruct(path, grid, SITE, NAMES)
    assert {"mandible", "brainstem"} & set(found.organs) == set() and "parotid_left" in found.organs
    assert "'Jaw'" in found.notes[0] and "'Stem new'" in found.notes[0] and "--names" in found.notes[0]

    (tmp_path / "names.json").write_text(json.dumps({"Jaw": "mandible", "Stem new": None}))
    mapped = read_rtstruct(path, grid, SITE, load_names(SITE, tmp_path / "names.json"))
    assert "mandible" in mapped.organs and "brainstem" not in mapped.organs
    assert np.array_equal(mapped.label_map.label == 4, label == 4)
    # What the user passes over is not reported each time.
    assert not any("Stem new" in note for note in mapped.notes)

    (tmp_path / "twice.json").write_text(json.dumps({"Jaw": "parotid_right"}))
    with pytest.raises(ConfigError, match="plan.dcm: .*'Parotid_R'.* are both parotid_right"):
        read_rtstruct(path, grid, SITE, load_names(SITE, tmp_path / "twice.json"))


def test_a_prediction_without_any_organ_is_an_empty_map(scan, save_plan, tmp_path):
    label, affine = scan
    other = {organ.key: f"Other {organ.name}" for organ in SITE.organs}
    path = save_plan(tmp_path / "plan.dcm", label, affine, other)
    with pytest.raises(ConfigError, match="no ROI is an organ: 'Other Brainstem'"):
        read_rtstruct(path, grid_of(label, affine), SITE, NAMES)
    found = read_rtstruct(path, grid_of(label, affine), SITE, NAMES, may_lack_all=True)
    assert found.organs == () and not found.label_map.label.any() and found.label_map.label.shape == label.shape
    assert "'Other Brainstem'" in found.notes[0] and found.notes[1].endswith("the reference labels counts as missed")


def test_where_organs_overlap_the_smaller_has_the_voxels(scan, save_plan, tmp_path):
    label, affine = scan
    path = save_plan(tmp_path / "plan.dcm", label, affine)
    plan = pydicom.dcmread(path)
    # The left eye becomes the mandible's second name-sake: its contours are added to the mandible's.
    names = [roi.ROIName for roi in plan.StructureSetROISequence]
    eye, bone = (plan.ROIContourSequence[names.index(name)] for name in ("Eye_L", "Bone_Mandible"))
    bone.ContourSequence.extend(eye.ContourSequence)
    plan.save_as(path)
    found = read_rtstruct(path, grid_of(label, affine), SITE, NAMES)
    assert np.array_equal(found.label_map.label, label)
    count = int((label == SITE.values["eye_left"]).sum())
    assert found.notes[-1] == f"plan.dcm: Eye_L overlaps larger organs in {count} voxels and keeps them"


def test_damaged_plans_are_refused(scan, save_plan, tmp_path):
    label, affine = scan
    path, grid = save_plan(tmp_path / "plan.dcm", label, affine), grid_of(label, affine)
    assert is_rtstruct(path) and not is_rtstruct(tmp_path)

    def changed(change) -> None:
        plan = pydicom.dcmread(path)
        change(plan)
        plan.save_as(tmp_path / "bad.dcm")
        read_rtstruct(tmp_path / "bad.dcm", grid, SITE, NAMES)

    def cut(plan) -> None:
        plan.ROIContourSequence[0].ContourSequence[0].ContourData = [1, 2, 3, 4]

    def no_contours(plan) -> None:
        for roi in plan.ROIContourSequence:
            del roi.ContourSequence

    def no_rois(plan) -> None:
        del plan.StructureSetROISequence

    def a_ct(plan) -> None:
        plan.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"

    def number_twice(plan) -> None:
        plan.StructureSetROISequence[1].ROINumber = plan.StructureSetROISequence[0].ROINumber

    def no_number(plan) -> None:
        del plan.ROIContourSequence[0].ReferencedROINumber

    for change, error, said in (
        (number_twice, InputError, "ROI number 1 stands twice"),
        (no_number, InputError, "an ROI has no number"),
        (cut, InputError, "bad.dcm, Brainstem: ContourData"),
        (no_contours, ConfigError, "no ROI is an organ"),
        (no_rois, InputError, "cannot be read as RTSTRUCT"),
        (a_ct, InputError, "no RTSTRUCT"),
    ):
        with pytest.raises(error, match=said):
            changed(change)
    (tmp_path / "text.dcm").write_text("no DICOM")
    assert not is_rtstruct(tmp_path / "text.dcm")
    with pytest.raises(InputError, match="text.dcm"):
        read_rtstruct(tmp_path / "text.dcm", grid, SITE, NAMES)
    with pytest.raises(InputError, match="none.dcm does not exist"):
        read_rtstruct(tmp_path / "none.dcm", grid, SITE, NAMES)


def other_value(item: Dataset, keyword: str, vr: str, value: bytes) -> None:
    """As a damaged file has it: any VR, any bytes."""
    tag = Tag(keyword)
    item.set_original_encoding(False, True, "ISO_IR 100")
    item[tag] = RawDataElement(tag, vr, len(value), value, 0, False, True)


@pytest.mark.parametrize(
    ("place", "keyword", "vr", "value", "said"),
    [
        ("roi", "ROINumber", "IS", b"abc ", "ROINumber is 'abc', expected a whole number"),
        ("roi", "ROINumber", "FD", struct.pack("<d", math.nan), "ROINumber is 'nan', expected a whole number"),
        ("roi", "ROINumber", "LO", b"one", "ROINumber is 'one', expected a whole number"),
        ("top", "StructureSetROISequence", "LO", b"abcd", "StructureSetROISequence is no sequence"),
        ("top", "ROIContourSequence", "LO", b"abcd", "ROIContourSequence is no sequence"),
        ("drawn", "ContourSequence", "LO", b"abcd", "ContourSequence is no sequence"),
        ("contour", "ContourData", "OB", b"123456", "ContourData is not three numbers a point"),
        ("contour", "ContourData", "DS", b"1\\2\\x ", "ContourData is not three numbers a point"),
    ],
)
def test_damage_within_a_plan_is_one_clear_error(scan, save_plan, tmp_path, place, keyword, vr, value, said):
    label, affine = scan
    path = save_plan(tmp_path / "plan.dcm", label, affine)
    dataset = pydicom.dcmread(path)
    drawn = dataset.ROIContourSequence[0]
    items = {
        "top": dataset, "roi": dataset.StructureSetROISequence[0], "drawn": drawn, "contour": drawn.ContourSequence[0],
    }  # fmt: skip
    other_value(items[place], keyword, vr, value)
    dataset.save_as(path)
    with pytest.raises(InputError, match=said):
        read_rtstruct(path, grid_of(label, affine), SITE, NAMES)


def test_a_contour_without_points_is_none(scan, save_plan, tmp_path):
    label, affine = scan
    path = save_plan(tmp_path / "plan.dcm", label, affine)
    dataset = pydicom.dcmread(path)
    for contour in dataset.ROIContourSequence[0].ContourSequence:
        contour.ContourData = None
    dataset.save_as(path)
    found = read_rtstruct(path, grid_of(label, affine), SITE, NAMES)
    assert set(found.organs) == set(SITE.values) - {"brainstem"}
    assert "plan.dcm: Brainstem has no closed contour, left out" in found.notes


def test_a_deflated_plan_without_end_is_refused(scan, save_plan, tmp_path):
    label, affine = scan
    path = save_plan(tmp_path / "plan.dcm", label, affine)
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.save_as(path)
    assert is_rtstruct(path) and read_rtstruct(path, grid_of(label, affine), SITE, NAMES).organs
    inflate_more(path, 70)
    assert not is_rtstruct(path)
    with pytest.raises(InputError, match="deflated, of more than 64 MiB"):
        read_rtstruct(path, grid_of(label, affine), SITE, NAMES)


def test_a_structure_set_without_a_series_is_one(tmp_path: Path) -> None:
    """Some exports leave SeriesInstanceUID out; contours need none."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ImplicitVRLittleEndian, RTSTRUCT_CLASS
    dataset = Dataset()
    dataset.file_meta, dataset.SOPClassUID, dataset.SOPInstanceUID = meta, RTSTRUCT_CLASS, generate_uid()
    dataset.save_as(tmp_path / "plan.dcm", enforce_file_format=True)
    assert is_rtstruct(tmp_path / "plan.dcm") and not is_rtstruct(Path(__file__))
