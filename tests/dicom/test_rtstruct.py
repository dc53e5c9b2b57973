from __future__ import annotations

import shutil
import subprocess

import nibabel
import numpy as np
import pydicom
import pytest

import oarseg
import oarseg.dicom.write.save as save_module
from oarseg.dicom import Roi, read_ct, write_rtstruct
from oarseg.errors import GeometryError, InputError, OutputError

RED = (255, 0, 0)


def ellipsoid(volume, center, radii):
    """Mask of an ellipsoid; ``center`` in slices, rows, columns and ``radii`` in mm."""
    grid = np.indices(volume.shape).astype(float)
    parts = [((g - c) * s / r) ** 2 for g, c, s, r in zip(grid, center, volume.spacing_mm, radii, strict=True)]
    return sum(parts) <= 1


def block(volume):
    mask = np.zeros(volume.shape, bool)
    mask[5:9, 4:12, 6:15] = True
    return mask


@pytest.fixture
def volume(ct, tmp_path):
    return read_ct(ct().write(tmp_path / "ct"))


def test_says_what_a_planning_system_needs(volume, tmp_path):
    rois = [Roi("Parotid_L", RED, block(volume), "left"), Roi("Eye_R", (0, 0, 9), np.zeros(volume.shape, bool))]
    done = write_rtstruct(tmp_path / "rt.dcm", volume, rois)
    assert (done.written, done.left_out) == (("Parotid_L",), ("Eye_R",))
    rt, header = pydicom.dcmread(tmp_path / "rt.dcm"), volume.header
    for keyword in ("PatientName", "PatientID", "PatientBirthDate", "StudyInstanceUID", "StudyID", "StudyDate",
                    "FrameOfReferenceUID", "SpecificCharacterSet", "AccessionNumber"):  # fmt: skip
        assert rt[keyword].value == header[keyword].value
    assert rt.Modality == "RTSTRUCT" and rt.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    assert rt.SeriesInstanceUID not in (volume.series_uid, rt.SOPInstanceUID)
    assert rt.SOPInstanceUID == done.sop_instance_uid == rt.file_meta.MediaStorageSOPInstanceUID
    assert rt.ApprovalStatus == "UNAPPROVED" and rt.Manufacturer == "oarseg"
    assert rt.SoftwareVersions == oarseg.__version__ and len(rt.StructureSetLabel) <= 16
    for text in (rt.SeriesDescription, rt.StructureSetDescription):
        assert "research use only, not a medical device" in text
    (roi,), (seen,) = rt.StructureSetROISequence, rt.RTROIObservationsSequence
    assert (roi.ROIName, roi.ROIGenerationAlgorithm, roi.ROIDescription) == ("Parotid_L", "AUTOMATIC", "left")
    assert roi.ReferencedFrameOfReferenceUID == volume.frame_of_reference_uid
    assert (seen.RTROIInterpretedType, seen.ReferencedROINumber) == ("ORGAN", roi.ROINumber)


def test_refers_to_every_slice_and_each_contour_to_its_own(volume, tmp_path):
    write_rtstruct(tmp_path / "rt.dcm", volume, [Roi("Brainstem", RED, block(volume))])
    rt = pydicom.dcmread(tmp_path / "rt.dcm")
    (frame,) = rt.ReferencedFrameOfReferenceSequence
    (series,) = frame.RTReferencedStudySequence[0].RTReferencedSeriesSequence
    uids = [i.sop_instance_uid for i in volume.instances]
    assert series.SeriesInstanceUID == volume.series_uid
    assert [i.ReferencedSOPInstanceUID for i in series.ContourImageSequence] == uids
    (drawn,) = rt.ROIContourSequence
    assert list(drawn.ROIDisplayColor) == list(RED) and len(drawn.ContourSequence) == 4
    for k, contour in enumerate(drawn.ContourSequence, 5):
        points = np.array(contour.ContourData, float).reshape(-1, 3)
        assert contour.ContourImageSequence[0].ReferencedSOPInstanceUID == uids[k]
        assert contour.ContourGeometricType == "CLOSED_PLANAR" and contour.NumberOfContourPoints == len(points)
        assert np.allclose(points[:, 2], volume.instances[k].position[2])
        # Rows 4 to 11 and columns 6 to 14, each half a pixel further.
        first = np.array(volume.instances[k].position)
        assert np.allclose(points.min(0)[:2] - first[:2], (5.5 * 2.0, 3.5 * 1.5))
        assert np.allclose(points.max(0)[:2] - first[:2], (14.5 * 2.0, 11.5 * 1.5))


def test_no_frame_of_reference_is_refused(edited, tmp_path):
    volume = read_ct(edited(lambda s: [i.pop("FrameOfReferenceUID") for i in s]))
    with pytest.raises(GeometryError, match="FrameOfReferenceUID"):
        write_rtstruct(tmp_path / "rt.dcm", volume, [Roi("Brainstem", RED, block(volume))])


def test_only_empty_rois_write_nothing(volume, tmp_path):
    with pytest.raises(OutputError, match=r"all ROIs are empty \(Brainstem\)"):
        write_rtstruct(tmp_path / "rt.dcm", volume, [Roi("Brainstem", RED, np.zeros(volume.shape, bool))])
    assert not (tmp_path / "rt.dcm").exists()


@pytest.mark.parametrize(
    ("rois", "message"),
    [([("A", RED), ("A", RED)], "twice"), ([("", RED)], "printable"), ([("A\\B", RED)], "backslash"),
     ([("A", (0, 0, 256))], "colour"), ([("x" * 65, RED)], "64")],
)  # fmt: skip
def test_bad_rois(volume, tmp_path, rois, message):
    with pytest.raises(InputError, match=message):
        write_rtstruct(tmp_path / "rt.dcm", volume, [Roi(n, c, block(volume)) for n, c in rois])


def test_no_folder(volume, tmp_path):
    with pytest.raises(OutputError, match="cannot be written"):
        write_rtstruct(tmp_path / "no" / "rt.dcm", volume, [Roi("A", RED, block(volume))])


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), ValueError("bad tag")])
def test_failure_half_way_keeps_the_old_file_and_no_rest(volume, tmp_path, monkeypatch, failure):
    def fail(dataset, file):
        file.write(b"half")
        raise failure

    place = tmp_path / "out"
    place.mkdir()
    (place / "rt.dcm").write_text("old")
    monkeypatch.setattr(save_module, "_encode", fail)
    with pytest.raises(OutputError):
        write_rtstruct(place / "rt.dcm", volume, [Roi("A", RED, block(volume))])
    assert [p.name for p in place.iterdir()] == ["rt.dcm"] and (place / "rt.dcm").read_text() == "old"


def test_odd_text_of_the_ct_is_carried(edited, tmp_path):
    def change(slices):
        for item in slices:
            item.SpecificCharacterSet = "ISO_IR 192"
            item.PatientName = "Zażółć^Gęślą"

    volume = read_ct(edited(change))
    write_rtstruct(tmp_path / "rt.dcm", volume, [Roi("A", RED, block(volume))])
    assert str(pydicom.dcmread(tmp_path / "rt.dcm").PatientName) == "Zażółć^Gęślą"


def test_contour_too_long_for_explicit_vr_goes_implicit(ct, tmp_path):
    volume = read_ct(ct(shape=(3, 110, 110), hu=lambda p: np.zeros(p.shape[:-1])).write(tmp_path / "ct"))
    comb = np.zeros(volume.shape, bool)
    comb[1, 1:108, 1:109:2] = comb[1, 1:108:2, 1:108] = True
    write_rtstruct(tmp_path / "rt.dcm", volume, [Roi("Comb", RED, comb)])
    rt = pydicom.dcmread(tmp_path / "rt.dcm")
    (contour,) = rt.ROIContourSequence[0].ContourSequence
    assert rt.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2"
    assert contour["ContourData"].VR == "DS" and len(contour.ContourData) == 3 * contour.NumberOfContourPoints


@pytest.mark.peer
def test_dciodvfy_finds_no_error(volume, tmp_path):
    if not shutil.which("dciodvfy"):
        pytest.skip("dciodvfy is not installed")
    write_rtstruct(tmp_path / "rt.dcm", volume, [Roi("A", RED, block(volume)), Roi("B", (1, 2, 3), block(volume))])
    run = subprocess.run(["dciodvfy", tmp_path / "rt.dcm"], capture_output=True, text=True, timeout=60, check=False)
    said = run.stdout + run.stderr
    assert "RTStructureSet" in said
    assert [line for line in said.splitlines() if line.startswith("Error")] == []


def plastimatch(tmp_path, volume, names):
    """The masks that plastimatch makes of the RTSTRUCT, in the index order of ``volume``."""
    if not shutil.which("plastimatch"):
        pytest.skip("plastimatch is not installed")
    command = ["plastimatch", "convert", "--input", tmp_path / "rt.dcm", "--referenced-ct", tmp_path / "ct",
               "--output-prefix", tmp_path / "masks", "--prefix-format", "nii.gz"]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    masks = {}
    for name in names:
        image = nibabel.load(tmp_path / "masks" / f"{name}.nii.gz")
        other = np.linalg.inv(image.affine) @ volume.affine
        indices = np.stack([g.ravel() for g in np.indices(volume.shape)] + [np.ones(np.prod(volume.shape))])
        there = np.rint((other @ indices)[:3]).astype(int)
        data = np.asarray(image.dataobj) > 0
        assert (there >= 0).all() and (data.shape > there.T).all()
        masks[name] = data[tuple(there)].reshape(volume.shape)
    return masks


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


@pytest.mark.peer
@pytest.mark.parametrize("orientation", ["HFS", "FFS", "HFP"])
def test_plastimatch_gets_the_masks_back(ct, tmp_path, orientation):
    series = ct(orientation, shape=(24, 90, 80), spacing=(3.0, 1.0, 1.0), hu=lambda p: np.zeros(p.shape[:-1]))
    volume = read_ct(series.write(tmp_path / "ct"))
    masks = {
        "Parotid_L": ellipsoid(volume, (12, 50, 52), (25, 18, 12)),
        "OpticNrv_R": optic_nerve(volume),
        "Ring": ellipsoid(volume, (10, 40, 22), (20, 18, 16)) & ~ellipsoid(volume, (10, 38, 22), (11, 9, 7)),
    }
    write_rtstruct(tmp_path / "rt.dcm", volume, [Roi(n, RED, m) for n, m in masks.items()])
    back = plastimatch(tmp_path, volume, masks)
    assert dice(masks["Parotid_L"], back["Parotid_L"]) >= 0.98
    assert dice(masks["OpticNrv_R"], back["OpticNrv_R"]) >= 0.95
    assert dice(masks["Ring"], back["Ring"]) >= 0.98


def optic_nerve(volume):
    """A slanting tube 4 mm thick and 28 mm long, within a few slices."""
    z, y, x = (g * s for g, s in zip(np.indices(volume.shape), volume.spacing_mm, strict=True))
    along = y - 20
    off = np.hypot(z - 24 - 0.1 * along, x - 20 - 0.4 * along)
    return (off <= 2.0) & (along >= 0) & (along <= 28)


def test_a_mask_of_a_part_gives_the_same_contours(volume, tmp_path):
    whole, part = block(volume), (slice(2, 12), slice(3, 20), slice(5, 18))
    rois = [Roi("Whole", RED, whole), Roi("Part", RED, whole[part], start=(2, 3, 5))]
    write_rtstruct(tmp_path / "rt.dcm", volume, rois)
    drawn = pydicom.dcmread(tmp_path / "rt.dcm").ROIContourSequence
    one, two = ([(c.ContourData, c.ContourImageSequence[0]) for c in d.ContourSequence] for d in drawn)
    assert one == two and len(one) == 4
    for start in ((-1, 0, 0), (8, 3, 5)):
        with pytest.raises(GeometryError, match="leaves the CT"):
            write_rtstruct(tmp_path / "rt.dcm", volume, [Roi("Part", RED, whole[part], start=start)])
    with pytest.raises(GeometryError, match="the mask is"):
        write_rtstruct(tmp_path / "rt.dcm", volume, [Roi("Part", RED, whole[part])])


@pytest.mark.parametrize("charset", ["ISO_IR 100", "ISO_IR 192", "ISO 2022 IR 6\\ISO 2022 IR 87"])
def test_contours_are_written_as_they_were_encoded(charset, ct, tmp_path, monkeypatch):
    """pydicom would decode and encode every number again, which takes longer than to find the contours."""
    volume = read_ct(_with_charset(ct, charset).write(tmp_path / "ct"))
    monkeypatch.setattr("pydicom.values.convert_DS_string", lambda *args: pytest.fail("a contour was decoded"))
    write_rtstruct(tmp_path / "rt.dcm", volume, [Roi("Brainstem", RED, block(volume))])


def _with_charset(ct, charset):
    series = ct()
    for item in series.slices:
        item.SpecificCharacterSet = charset.split("\\")
    return series
