"""DICOM SEG: right voxels, codes, references; checked by dciodvfy where it is, read back by highdicom."""

from __future__ import annotations

import shutil
import subprocess
import sys

import numpy as np
import pydicom
import pytest
from pydicom import config

import oarseg.dicom.write.save as save_module
from oarseg.dicom import Segment, read_ct, write_seg
from oarseg.errors import ConfigError, GeometryError, InputError, OutputError
from oarseg.sites import load_site
from oarseg.sites.codes import segment_codes

SITE = load_site("head_neck")


def segments(*keys):
    organs = [SITE.organ(key) for key in keys]
    return [Segment(o.value, o.name, o.color, segment_codes(o.name)) for o in organs]


def painted(volume):
    """A left parotid gland of 3 x 5 x 4 voxels and a mandible, unlike in every axis."""
    label = np.zeros(volume.shape, np.uint8)
    label[2:5, 4:9, 6:10] = SITE.organ("parotid_left").value
    label[7, 1, 2:9] = SITE.organ("mandible").value
    return label


@pytest.fixture
def volume(ct, tmp_path):
    return read_ct(ct().write(tmp_path / "ct"))


@pytest.fixture
def highdicom():
    return pytest.importorskip("highdicom")


def test_every_voxel_comes_back_where_it_was(highdicom, volume, tmp_path):
    label = painted(volume)
    done = write_seg(tmp_path / "seg.dcm", volume, label, segments("mandible", "eye_left", "parotid_left"))
    assert (done.written, done.left_out) == (("Bone_Mandible", "Parotid_L"), ("Eye_L",))
    read = highdicom.seg.segread(tmp_path / "seg.dcm")
    assert [read.get_segment_description(n).segment_label for n in (1, 2)] == ["Bone_Mandible", "Parotid_L"]
    # Slice by slice through the SOP instances that it refers to.
    uids = [i.sop_instance_uid for i in volume.instances]
    frames = read.get_pixels_by_source_instance(uids, combine_segments=True, assert_missing_frames_are_empty=True)
    expected = np.zeros_like(label)
    for number, key in enumerate(("mandible", "parotid_left"), 1):
        expected[label == SITE.organ(key).value] = number
    assert np.array_equal(frames, expected)
    # And in the patient: the same points, whatever order highdicom reads slices in.
    found = read.get_volume(combine_segments=True)
    ours = np.argwhere(expected == 2) @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    theirs = np.argwhere(found.array == 2) @ found.affine[:3, :3].T + found.affine[:3, 3]
    theirs = theirs * (-1, -1, 1)
    assert len(ours) == 60
    assert np.allclose(ours[np.lexsort(ours.round(2).T)], theirs[np.lexsort(theirs.round(2).T)], atol=1e-2)


def test_says_what_and_of_whom(highdicom, volume, tmp_path):
    write_seg(tmp_path / "seg.dcm", volume, painted(volume), segments("mandible", "parotid_left"))
    seg, header = pydicom.dcmread(tmp_path / "seg.dcm"), volume.header
    for keyword in ("PatientName", "PatientID", "PatientBirthDate", "StudyInstanceUID", "StudyID", "StudyDate",
                    "FrameOfReferenceUID", "SpecificCharacterSet", "AccessionNumber"):  # fmt: skip
        assert seg[keyword].value == header[keyword].value, keyword
    assert seg.Modality == "SEG" and seg.SeriesInstanceUID not in (volume.series_uid, seg.SOPInstanceUID)
    for text in (seg.SeriesDescription, seg.ContentDescription):
        assert "research use only, not a medical device" in text
    mandible, parotid = seg.SegmentSequence
    assert parotid.SegmentedPropertyCategoryCodeSequence[0].CodeValue == "91723000"
    kind = parotid.SegmentedPropertyTypeCodeSequence[0]
    side = kind.SegmentedPropertyTypeModifierCodeSequence[0]
    assert (kind.CodeValue, kind.CodingSchemeDesignator, side.CodeValue) == ("45289007", "SCT", "7771000")
    assert "SegmentedPropertyTypeModifierCodeSequence" not in mandible.SegmentedPropertyTypeCodeSequence[0]
    assert mandible.SegmentAlgorithmType == "AUTOMATIC" and mandible.SegmentAlgorithmName == "oarseg"
    (series,) = seg.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == volume.series_uid


@pytest.mark.parametrize(
    "tags",
    [{"SpecificCharacterSet": ["", "ISO 2022 IR 87"]}, {"SpecificCharacterSet": ""}, {"PatientSex": "U"},
     {"StudyDate": "2020-01-01", "StudyTime": "99:99"}, {"PatientBirthDate": "unknown"}],
)  # fmt: skip
def test_takes_the_tags_that_real_cts_have(highdicom, ct, tmp_path, tags):
    volume = read_ct(ct().write(tmp_path / "ct"))
    with config.disable_value_validation():
        for keyword, value in tags.items():
            setattr(volume.header, keyword, value)
        write_seg(tmp_path / "seg.dcm", volume, painted(volume), segments("mandible"))
        seg = pydicom.dcmread(tmp_path / "seg.dcm")
        for keyword in tags:
            assert (seg[keyword].value or "") == volume.header[keyword].value


@pytest.mark.peer
def test_dciodvfy_finds_no_error(highdicom, volume, tmp_path):
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not installed (Debian package dicom3tools)")
    write_seg(tmp_path / "seg.dcm", volume, painted(volume), segments("mandible", "parotid_left"))
    told = subprocess.run(["dciodvfy", str(tmp_path / "seg.dcm")], capture_output=True, text=True)
    errors = [line for line in (told.stdout + told.stderr).splitlines() if line.startswith("Error")]
    assert errors == [] and "Segmentation" in told.stdout + told.stderr


def test_bad_input_leaves_nothing(volume, tmp_path, edited):
    path, label = tmp_path / "seg.dcm", painted(volume)
    for given, array, error, told in [
        (segments("mandible", "mandible"), label, InputError, "given twice"),
        ([Segment(1, "a\\b", (1, 2, 3), segment_codes("Brainstem"))], label, InputError, "backslash"),
        ([Segment(0, "a", (1, 2, 3), segment_codes("Brainstem"))], label, InputError, "1 or more"),
        (segments("mandible"), label[1:], GeometryError, "voxels, the CT"),
        (segments("eye_left"), label, OutputError, "no voxel of Eye_L"),
        ([], label, OutputError, "any organ"),
    ]:
        with pytest.raises(error, match=told.replace("\\", ".")):
            write_seg(path, volume, array, given)
    other = read_ct(edited(lambda s: [i.pop("FrameOfReferenceUID") for i in s]))
    with pytest.raises(GeometryError, match="FrameOfReferenceUID"):
        write_seg(path, other, painted(other), segments("mandible"))
    assert not path.exists()


def test_a_full_disk_keeps_the_old_file(highdicom, volume, tmp_path, monkeypatch):
    def fail(dataset, file):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    place = tmp_path / "out"
    place.mkdir()
    (place / "seg.dcm").write_text("old")
    monkeypatch.setattr(save_module, "_encode", fail)
    with pytest.raises(OutputError, match="seg.dcm: no space left"):
        write_seg(place / "seg.dcm", volume, painted(volume), segments("mandible"))
    assert [p.name for p in place.iterdir()] == ["seg.dcm"] and (place / "seg.dcm").read_text() == "old"


def test_says_how_to_get_highdicom(volume, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(ConfigError, match=r"oarseg\[seg\]"):
        write_seg(tmp_path / "seg.dcm", volume, painted(volume), segments("mandible"))
