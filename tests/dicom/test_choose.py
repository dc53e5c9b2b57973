from __future__ import annotations

import pytest

from oarseg.dicom import choose_series, read_ct, scan_folder
from oarseg.errors import InputError


@pytest.fixture
def two(ct, tmp_path):
    """A folder with series 3 and 5 of one patient, and their UIDs."""
    small = {"shape": (4, 8, 8)}
    first, second = ct(number=3, **small), ct(number=5, **small)
    first.write(tmp_path / "a")
    second.write(tmp_path / "b")
    return tmp_path, first.slices[0].SeriesInstanceUID, second.slices[0].SeriesInstanceUID


def test_several_series_are_listed(two):
    folder, first, second = two
    with pytest.raises(InputError, match="--series") as caught:
        read_ct(folder)
    message = str(caught.value)
    assert first in message and second in message
    assert "1. series 3 ('planning'): 4 slices of 8 x 8" in message and "2. series 5" in message
    assert "patient" not in message


def test_by_uid_number_and_end_of_uid(two):
    folder, first, second = two
    scan = scan_folder(folder)
    assert choose_series(scan, first).uid == first
    assert choose_series(scan, "5").uid == second
    assert choose_series(scan, second[-8:]).uid == second


def test_piece_that_fits_both(two):
    folder, first, _ = two
    with pytest.raises(InputError, match="fits 2 CT series"):
        choose_series(scan_folder(folder), first[:12])


def test_unknown_series(two):
    with pytest.raises(InputError, match="fits --series 77; it holds:\n  1. series 3"):
        choose_series(scan_folder(two[0]), "77")


def test_two_patients_are_told_apart_without_naming_them(ct, tmp_path):
    ct(patient="SECRET1", shape=(4, 8, 8)).write(tmp_path / "a")
    ct(patient="SECRET2", shape=(4, 8, 8)).write(tmp_path / "b")
    with pytest.raises(InputError, match=r"patient [AB], series 4.*\n.*patient [AB]") as caught:
        read_ct(tmp_path)
    assert "SECRET" not in str(caught.value)


def test_short_series_beside_the_planning_ct_is_passed_over(ct, tmp_path):
    ct(number=1, shape=(2, 8, 8)).write(tmp_path / "a")
    ct(number=2, shape=(4, 8, 8)).write(tmp_path / "b")
    assert choose_series(scan_folder(tmp_path)).number == "2"
    with pytest.raises(InputError, match="too few slices"):
        choose_series(scan_folder(tmp_path), "1")


def test_only_a_short_series(ct, tmp_path):
    ct(shape=(2, 8, 8)).write(tmp_path)
    with pytest.raises(InputError, match="no CT series of 3 or more slices"):
        read_ct(tmp_path)


def test_no_ct_says_what_there_is(edited):
    folder = edited(lambda s: [setattr(i, "Modality", "MR") for i in s])
    with pytest.raises(InputError, match=r"no CT slices.*16 file\(s\) ignored: MR object"):
        read_ct(folder)


def test_asking_for_an_enhanced_series_explains(edited):
    folder = edited(lambda s: [setattr(i, "SOPClassUID", "1.2.840.10008.5.1.4.1.1.2.1") for i in s])
    scan = scan_folder(folder)
    with pytest.raises(InputError, match="enhanced multi-frame CT.*convert"):
        choose_series(scan, next(iter(scan.others)))
