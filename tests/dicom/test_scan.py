from __future__ import annotations

import shutil

import pytest

import oarseg.dicom.read.scan as scan_module
from oarseg.dicom import read_ct, scan_folder
from oarseg.dicom.write.save import save_whole
from oarseg.errors import InputError


def other(ct, tmp_path, change, name):
    """One file of another kind beside the CT."""
    series = ct(number=9)
    item = series.slices[0]
    change(item)
    series.slices = [item]
    series.write(tmp_path / name)


def test_clinical_folder_gives_its_ct_and_notes(ct, tmp_path):
    ct(number=3).write(tmp_path / "a" / "b")
    other(ct, tmp_path, lambda i: setattr(i, "ImageType", ["ORIGINAL", "PRIMARY", "LOCALIZER"]), "scout")
    other(ct, tmp_path, lambda i: setattr(i, "Modality", "MR"), "mr")
    other(ct, tmp_path, lambda i: setattr(i, "SOPClassUID", "1.2.840.10008.5.1.4.1.1.7"), "report")
    other(ct, tmp_path, lambda i: setattr(i, "SOPClassUID", "1.2.840.10008.5.1.4.1.1.2.1"), "enhanced")
    other(ct, tmp_path, lambda i: (setattr(i, "Modality", "RTSTRUCT"), setattr(i, "PatientID", "P2")), "rt")
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "empty.dcm").touch()
    (tmp_path / ".DS_Store").write_text("x")
    scan = scan_folder(tmp_path)
    assert [(s.number, s.count) for s in scan.series] == [("3", 16)]
    notes = "\n".join(scan.notes)
    for expected in ("localizer", "MR object", "no CT image", "enhanced multi-frame", "another patient", "not DICOM",
                     "empty file"):  # fmt: skip
        assert expected in notes
    # Neither patients nor files, which may be called by patients; the notes go into reports.
    assert not any(name in notes for name in ("DS_Store", "P2", "notes.txt", "empty.dcm", "enhanced/"))
    assert read_ct(tmp_path).warnings == scan.notes


def test_localizer_within_the_series_is_left_out(edited):
    def change(slices):
        slices[0].ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
        slices[0].ImageOrientationPatient = [1, 0, 0, 0, 0, -1]

    assert read_ct(edited(change)).shape[0] == 15


def test_copy_of_a_slice_is_taken_once(ct, tmp_path):
    folder = ct().write(tmp_path)
    original = sorted(folder.iterdir())[2]
    shutil.copy(original, folder / "zz_copy.dcm")
    volume = read_ct(folder)
    assert volume.shape[0] == 16
    assert volume.warnings == ("1 file(s) ignored: copies of slices that are there already",)


def test_whole_copy_wins_over_a_cut_one(ct, tmp_path):
    folder = ct().write(tmp_path)
    original = sorted(folder.iterdir())[2]
    shutil.copy(original, folder / "zz_copy.dcm")
    original.write_bytes(original.read_bytes()[:-600])
    assert read_ct(folder).shape[0] == 16


def test_one_instance_uid_at_two_positions_is_not_taken_for_a_copy(edited):
    folder = edited(lambda s: setattr(s[3], "SOPInstanceUID", s[4].SOPInstanceUID))
    assert scan_folder(folder).series[0].count == 16
    with pytest.raises(InputError, match="SOPInstanceUID"):
        read_ct(folder)


def test_file_that_cannot_be_opened_is_not_passed_over(ct, tmp_path, monkeypatch):
    folder = ct().write(tmp_path)
    victim = sorted(folder.iterdir())[0]
    real = type(victim).open

    def deny(self, *args, **kwargs):
        if self == victim:
            raise PermissionError(13, "Permission denied")
        return real(self, *args, **kwargs)

    monkeypatch.setattr(type(victim), "open", deny)
    with pytest.raises(InputError, match=rf"{victim.name} \(cannot be opened"):
        read_ct(folder)


def test_damaged_object_of_another_kind_is_only_noted(ct, tmp_path):
    ct().write(tmp_path)
    item = ct().slices[0]
    item.file_meta.MediaStorageSOPClassUID = item.SOPClassUID = "1.2.840.10008.5.1.4.1.1.481.2"
    del item.SeriesInstanceUID
    save_whole(item, tmp_path / "dose.dcm")
    assert read_ct(tmp_path).warnings == ("1 file(s) ignored: no SeriesInstanceUID",)


def test_missing_folder(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        scan_folder(tmp_path / "no")


def test_file_instead_of_folder(tmp_path):
    (tmp_path / "f").touch()
    with pytest.raises(InputError, match="is a file"):
        scan_folder(tmp_path / "f")


def test_empty_folder(tmp_path):
    with pytest.raises(InputError, match="holds no files"):
        scan_folder(tmp_path)


def test_too_many_files(tmp_path, monkeypatch):
    monkeypatch.setattr(scan_module, "MAX_FILES", 3)
    for k in range(4):
        (tmp_path / str(k)).touch()
    with pytest.raises(InputError, match="more than 3 files"):
        scan_folder(tmp_path)


def test_linked_folders_are_not_entered(ct, tmp_path):
    ct().write(tmp_path / "real")
    (tmp_path / "real" / "loop").symlink_to(tmp_path, target_is_directory=True)
    assert scan_folder(tmp_path).series[0].count == 16
