"""Small synthetic copies of each public layout come out with the right organs, voxel by voxel, left as left."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import nibabel as nib
import nrrd
import numpy as np
import pytest

from oarseg.datasets import load_datalist
from oarseg.datasets.convert import SETS, convert, plan
from oarseg.errors import ConfigError, InputError
from oarseg.sites import load_site

SITE = load_site()
SHAPE = (36, 44, 40)


@pytest.fixture(scope="module")
def oblique(phantom) -> np.ndarray:
    """Axes in another order, flipped, tilted, of three spacings: superior, left, anterior, roughly."""
    turn = np.deg2rad(9)
    tilt = np.array([[1, 0, 0], [0, np.cos(turn), -np.sin(turn)], [0, np.sin(turn), np.cos(turn)]])
    return phantom.centred_affine(tilt @ np.array([[0, -4.4, 0], [0, 0, 5.0], [4.8, 0, 0]]), SHAPE)


@pytest.fixture(scope="module")
def patient(phantom, oblique) -> tuple[np.ndarray, np.ndarray]:
    return phantom.draw(SHAPE, oblique)


def save_nrrd(path: Path, array: np.ndarray, affine: np.ndarray) -> Path:
    lps = np.diag([-1, -1, 1, 1]) @ affine
    path.parent.mkdir(parents=True, exist_ok=True)
    header = {"space": "left-posterior-superior", "space directions": lps[:3, :3].T, "space origin": lps[:3, 3]}
    nrrd.write(str(path), array, header)
    return path


def save_nifti(path: Path, array: np.ndarray, affine: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


def converted(name: str, source: Path, out: Path, **options: object) -> dict[str, dict]:
    """Convert, expecting no failure; rows of the datalist by image name."""
    outcome = convert(plan(name, source, out, SITE, **options))
    assert outcome.failed == {}
    return {Path(row["image"]).name.removesuffix(".nii.gz"): row for part in outcome.rows.values() for row in part}


def check(out: Path, row: dict, hu: np.ndarray, label: np.ndarray, affine: np.ndarray, keys: Iterable[str]) -> None:
    """The very voxels at the very places, of the organs ``keys`` alone."""
    image, written = nib.load(out / row["image"]), nib.load(out / row["label"])
    assert np.array_equal(np.asarray(image.dataobj), hu) and image.get_data_dtype() == np.int16
    kept = np.isin(label, [SITE.values[key] for key in keys])
    assert np.array_equal(np.asarray(written.dataobj), label * kept) and written.get_data_dtype() == np.uint8
    for file in (image, written):
        assert np.allclose(file.affine, affine, atol=1e-3)
        assert np.allclose(file.get_qform(), affine, atol=1e-3)
    assert set(row["labelled"]) == set(keys)


def mask(label: np.ndarray, *keys: str) -> np.ndarray:
    return np.isin(label, [SITE.values[key] for key in keys]).astype(np.uint8)


def test_pddca_in_parts_with_missing_structures(patient, oblique, tmp_path):
    hu, label = patient
    names = {"BrainStem": "brainstem", "Mandible": "mandible", "Parotid_L": "parotid_left"}
    names |= {"Parotid_R": "parotid_right", "OpticNerve_L": "optic_nerve_left", "OpticNerve_R": "optic_nerve_right"}
    source, out = tmp_path / "pddca", tmp_path / "out"
    for case, left_out in (("part1/0522c0001", ""), ("part3/0522c0788", "Mandible")):
        folder = source / f"PDDCA-1.4.1_{case}"
        save_nrrd(folder / "img.nrrd", hu, oblique)
        for name, key in names.items():
            if name != left_out:
                save_nrrd(folder / "structures" / f"{name}.nrrd", mask(label, key), oblique)
        save_nrrd(folder / "structures" / "Chiasm.nrrd", mask(label, "eye_left"), oblique)
    work = plan("pddca", source, out, SITE)
    assert work.listing.unknown == {"Chiasm": 2} and work.listing.known["BrainStem", "brainstem"] == 2
    rows = converted("pddca", source, out)
    check(out, rows["0522c0001"], hu, label, oblique, names.values())
    check(out, rows["0522c0788"], hu, label, oblique, set(names.values()) - {"mandible"})
    listed = json.loads((out / "dataset.json").read_text())
    assert "cited" in listed["licence"] and listed["source"].startswith("https://")
    assert load_datalist(out, "training", organ="mandible")


def test_deepmind_takes_the_oncologists_and_keeps_two_scans_of_a_patient_together(patient, oblique, tmp_path):
    hu, label = patient
    names = {"Orbit-Lt": "eye_left", "Orbit-Rt": "eye_right", "Optic-Nerve-Lt": "optic_nerve_left"}
    names |= {"Parotid-Lt": "parotid_left", "Parotid-Rt": "parotid_right", "Brainstem": "brainstem"}
    source, out = tmp_path / "set" / "nrrds", tmp_path / "out"
    ids = ("0522c0727a", "0522c0727b", "TCGA-CV-7236")
    for observer, cases in {"oncologist": ids, "radiographer": ids[:1]}.items():
        for case in cases:
            folder = source / "validation" / observer / case
            save_nrrd(folder / "CT_IMAGE.nrrd", hu, oblique)
            for name, key in names.items():
                drawn = mask(label, key) if observer == "oncologist" else mask(label, "mandible")
                save_nrrd(folder / "segmentations" / f"{name}.nrrd", drawn, oblique)
    rows = converted("deepmind", source, out)
    assert {case: row["patient"] for case, row in rows.items()} == {
        "0522c0727a": "0522c0727", "0522c0727b": "0522c0727", "TCGA-CV-7236": "TCGA-CV-7236"
    }  # fmt: skip
    check(out, rows["0522c0727a"], hu, label, oblique, names.values())


def test_git_lfs_pointers_are_told_of(patient, oblique, tmp_path):
    folder = tmp_path / "set" / "oncologist" / "0522c0017"
    save_nrrd(folder / "segmentations" / "Brainstem.nrrd", mask(patient[1], "brainstem"), oblique)
    (folder / "CT_IMAGE.nrrd").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    outcome = convert(plan("deepmind", tmp_path / "set", tmp_path / "out", SITE))
    assert "git lfs pull" in outcome.failed["0522c0017"] and not (tmp_path / "out" / "dataset.json").exists()


def test_han_seg_joins_the_segments_of_an_eye_and_leaves_half_an_eye_out(patient, oblique, tmp_path):
    hu, label = patient
    source, out = tmp_path / "HaN-Seg", tmp_path / "out"
    folder = source / "set_1" / "case_01"
    save_nrrd(folder / "case_01_IMG_CT.nrrd", hu, oblique)
    save_nrrd(folder / "case_01_IMG_MR_T1.nrrd", hu[:20], oblique)
    left, right = mask(label, "eye_left"), mask(label, "eye_right")
    front = np.arange(SHAPE[2]) > np.argwhere(left)[:, 2].mean()
    parts = {"Eye_AL": left * front, "Eye_PL": left * ~front, "Eye_PR": right}
    parts |= {"Bone_Mandible": mask(label, "mandible"), "A_Carotid_L": mask(label, "parotid_left")}
    for name, drawn in parts.items():
        save_nrrd(folder / f"case_01_OAR_{name}.seg.nrrd", drawn, oblique)
    work = plan("han-seg", source, out, SITE)
    assert work.listing.unknown == {"A_Carotid_L": 1, "Eye_PR (a part of eye_right without the rest)": 1}
    rows = converted("han-seg", source, out)
    check(out, rows["case_01"], hu, label, oblique, ["eye_left", "mandible"])


def segrap_files(label: np.ndarray) -> dict[str, np.ndarray]:
    """A mask a file, the mandible in halves, the lens within the eye or cut out of it."""
    half = mask(label, "mandible")
    halves = {side: half.copy() for side in "LR"}
    # Index 1 counts towards the patient's left.
    halves["L"][:, : SHAPE[1] // 2], halves["R"][:, SHAPE[1] // 2 :] = 0, 0
    eye = mask(label, "eye_left")
    lens = eye * (np.arange(SHAPE[2]) > np.argwhere(eye)[:, 2].max() - 2).astype(np.uint8)
    return {
        "Eye_L": eye - lens, "Lens_L": lens, "Mandible_L": halves["L"], "Mandible_R": halves["R"],
        "Parotid_R": mask(label, "parotid_right"), "GTVp": mask(label, "brainstem"),
    }  # fmt: skip


def test_segrap_masks_label_maps_and_corrected_masks(patient, oblique, tmp_path):
    hu, label = patient
    name = "SegRap2023_Training_Set_120cases"
    wanted = ["eye_left", "mandible", "parotid_right"]
    for case in ("segrap_0000", "segrap_0001", "segrap_0002"):
        save_nifti(tmp_path / "in" / name / case / "image.nii.gz", hu, oblique)
        save_nifti(tmp_path / "in" / name / case / "image_contrast.nii.gz", hu + 50, oblique)
    for organ, drawn in segrap_files(label).items():
        save_nifti(tmp_path / "in" / name / "segrap_0000" / f"{organ}.nii.gz", drawn, oblique)
        save_nifti(tmp_path / "in" / name / "segrap_0002" / f"{organ}.nii.gz", np.zeros_like(drawn), oblique)
        save_nifti(tmp_path / "in" / f"{name}_Update_Labels" / "segrap_0002" / f"{organ}.nii.gz", drawn, oblique)
    values = {"Eye_L": 10, "Lens_L": 12, "Mandible_L": 36, "Mandible_R": 37, "Parotid_R": 41}
    whole = sum(drawn * values.get(organ, 54) for organ, drawn in segrap_files(label).items()).astype(np.uint8)
    save_nifti(tmp_path / "in" / f"{name}_OneHot_Labels" / "Task001" / "segrap_0001.nii.gz", whole, oblique)
    rows = converted("segrap", tmp_path / "in", tmp_path / "out")
    for case in ("segrap_0000", "segrap_0001", "segrap_0002"):
        check(tmp_path / "out", rows[case], hu, label, oblique, wanted)


def test_structseg_values(patient, oblique, tmp_path):
    hu, label = patient
    values = {"brainstem": 9, "eye_left": 1, "eye_right": 2, "optic_nerve_left": 5, "optic_nerve_right": 6}
    values |= {"parotid_left": 13, "parotid_right": 14, "mandible": 21}
    drawn = sum(mask(label, key) * value for key, value in values.items()).astype(np.uint8)
    for case, end in (("1", ".nii.gz"), ("2", ".nii")):
        save_nifti(tmp_path / "HaN_OAR" / case / f"data{end}", hu, oblique)
        save_nifti(tmp_path / "HaN_OAR" / case / f"label{end}", drawn, oblique)
    rows = converted("structseg", tmp_path / "HaN_OAR", tmp_path / "out")
    for case in ("structseg_1", "structseg_2"):
        check(tmp_path / "out", rows[case], hu, label, oblique, values)
    # Another numbering is noticed where it goes beyond this one.
    save_nifti(tmp_path / "HaN_OAR" / "2" / "label.nii", (drawn + 5).astype(np.uint8), oblique)
    failed = convert(plan("structseg", tmp_path / "HaN_OAR", tmp_path / "other", SITE)).failed
    assert "holds value 26; expected 0 to 22" in failed["structseg_2"] and set(failed) == {"structseg_2"}


def save_nnunet(folder: Path, hu: np.ndarray, label: np.ndarray, affine: np.ndarray, content: dict) -> None:
    save_nifti(folder / "imagesTr" / "hn_001_0001.nii.gz", hu, affine)
    save_nifti(folder / "imagesTr" / "hn_001_0000.nii.gz", (hu * 0 + 3).astype(np.int16), affine)
    save_nifti(folder / "labelsTr" / "hn_001.nii.gz", label, affine)
    (folder / "dataset.json").write_text(json.dumps(content))


def test_nnunet_versions_regions_and_the_ct_among_channels(patient, oblique, tmp_path):
    hu, label = patient
    # Values as somebody else chose them: parotids 3 and 1, an eye in two parts, 9 not used.
    other = np.zeros_like(label)
    for key, value in {"parotid_right": 1, "eye_left": 2, "parotid_left": 3}.items():
        other[label == SITE.values[key]] = value
    other[(other == 2) & (np.arange(SHAPE[1])[:, None] % 2 == 0)] = 4
    wanted = ["parotid_right", "eye_left", "parotid_left"]
    labels = {"background": 0, "Rt Parotid": 1, "Globe_L": [2, 4], "ParotidL": 3, "PTV70": 9, "ignore": 12}
    second = {"channel_names": {"0": "T1", "1": "CT"}, "labels": labels, "file_ending": ".nii.gz"}
    save_nnunet(tmp_path / "v2", hu, other, oblique, second)
    work = plan("nnunet", tmp_path / "v2", tmp_path / "out2", SITE)
    assert work.listing.unknown == {"PTV70": 1} and work.listing.known["Globe_L", "eye_left"] == 1
    rows = converted("nnunet", tmp_path / "v2", tmp_path / "out2")
    check(tmp_path / "out2", rows["hn_001"], hu, label, oblique, wanted)
    first = {"0": "background", "1": "parotid_right", "3": "Parotid_L", "2": "lens", "4": "x"}
    save_nnunet(tmp_path / "v1", hu, other, oblique, {"modality": {"0": "MR", "1": "CT"}, "labels": first})
    rows = converted("nnunet", tmp_path / "v1", tmp_path / "out1")
    check(tmp_path / "out1", rows["hn_001"], hu, label, oblique, ["parotid_right", "parotid_left"])


@pytest.mark.parametrize(
    "content, said",
    [
        ({"channel_names": {"0": "CT", "1": "CT"}, "labels": {"Parotid_L": 1}}, "exactly one that is called CT"),
        ({"channel_names": {"0": "T1"}, "labels": {"Parotid_L": 1}}, "exactly one that is called CT"),
        ({"labels": {"Parotid_L": 1}}, "channel_names"),
        ({"channel_names": {"0": "CT"}, "labels": {"Parotid_L": "one"}}, "whole numbers"),
        ({"channel_names": {"0": "CT"}, "labels": {"Parotid_L": 1, "Lt parotid": 2}}, "both parotid_left"),
        ({"channel_names": {"0": "CT"}, "labels": {"Parotid": 1, "heart": 2}}, "no label is an organ"),
        ({"channel_names": {"0": "CT"}, "labels": {"Parotid_L": 1}, "file_ending": ".mha"}, "file_ending"),
        # A digit that is no number.
        ({"channel_names": {"²": "CT"}, "labels": {"Parotid_L": 1}}, "expected a number from 0 to 9999"),
        ({"channel_names": {"0": "CT"}, "labels": {"²": "Parotid_L"}}, "whole numbers"),
        ([], "no JSON list"),
    ],
)
def test_nnunet_unclear_folders(content, said, patient, oblique, tmp_path):
    save_nnunet(tmp_path / "in", *patient, oblique, content)
    with pytest.raises(ConfigError, match=said):
        plan("nnunet", tmp_path / "in", tmp_path / "out", SITE)


@pytest.mark.parametrize("name", SETS)
def test_an_empty_folder_and_none_at_all(name, tmp_path):
    (tmp_path / "in").mkdir()
    for source in ("in", "none"):
        with pytest.raises(InputError):
            plan(name, tmp_path / source, tmp_path / "out", SITE)
    assert not (tmp_path / "out").exists()
