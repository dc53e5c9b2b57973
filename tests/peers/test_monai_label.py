"""The bundles as MONAI Label's models: a real server, asked as 3D Slicer and OHIF ask it.

``make test-monailabel`` makes the environment that this needs, and runs it.
"""

from __future__ import annotations

import gzip
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import nrrd
import numpy as np
import pytest

from oarseg.bundles import FOLDER
from oarseg.bundles.spec import bundle_specs
from oarseg.evaluation.metrics import dice
from oarseg.sites import load_site

SITE = load_site()
SPECS = {spec.name: spec for spec in bundle_specs(SITE)}
TWO_STAGE, LOCALIZER, TRAINED = "hn_ct_two_stage", "hn_ct_localizer", "brainstem_ct_segmentation"
NAMES = {organ.key: organ.value for organ in SITE.organs}
STUDIES = ("from_dicom", "askew")


def labels(name: str) -> dict[str, int]:
    """The organs that a bundle contours, with their values."""
    organ = SPECS[name].organ
    return {organ.key: organ.value} if organ else NAMES


def image_of(content: bytes) -> nib.Nifti1Image:
    return nib.Nifti1Image.from_bytes(gzip.decompress(content))


def voxels(image: nib.Nifti1Image) -> np.ndarray:
    """The label map with axes nearest to RAS, so that the same voxels of differently stored images meet."""
    return np.asarray(nib.as_closest_canonical(image).dataobj)


def scores(found: nib.Nifti1Image, expected: nib.Nifti1Image, organs: dict[str, int]) -> dict[str, float]:
    """Dice by organ; both on the same grid, however stored."""
    a, b = nib.as_closest_canonical(found), nib.as_closest_canonical(expected)
    np.testing.assert_allclose(a.affine, b.affine, atol=1e-3)
    return {key: dice(voxels(a) == value, voxels(b) == value) for key, value in organs.items()}


@pytest.fixture(scope="module")
def segmented(served) -> Callable[[str, str], nib.Nifti1Image]:
    """The server's result for a bundle and a study, asked for once."""
    known: dict[tuple[str, str], nib.Nifti1Image] = {}

    def ask(model: str, study: str) -> nib.Nifti1Image:
        if (model, study) not in known:
            content, told = served.infer(model, study)
            assert told["label_names"] == labels(model)
            known[model, study] = image_of(content)
        return known[model, study]

    return ask


def test_info_lists_every_bundle_with_the_values_of_the_organ_table(served) -> None:
    info = served.info()
    assert list(info["models"]) == list(info["trainers"]) == list(SPECS)
    for name, model in info["models"].items():
        assert (model["type"], model["dimension"], model["labels"]) == ("segmentation", 3, labels(name))
        # Another weight file beside it would be offered to the user.
        assert model["config"]["model_filename"] == ["model.pt"]
    # Clients number the segments in this order: so they are the values of the table.
    assert info["labels"] == [organ.key for organ in sorted(SITE.organs, key=lambda organ: organ.value)]


@pytest.mark.parametrize("study", STUDIES)
@pytest.mark.parametrize("name", SPECS)
def test_result_lies_on_the_grid_of_the_image(name: str, study: str, segmented, studies) -> None:
    image, result = nib.load(studies[study]), segmented(name, study)
    assert result.shape == image.shape
    np.testing.assert_allclose(result.affine, image.affine, atol=1e-4)
    assert set(np.unique(result.dataobj)) == {0, *labels(name).values()}


@pytest.mark.parametrize("study", STUDIES)
def test_two_stages_agree_with_the_command_line(study: str, segmented, contours, record) -> None:
    found = scores(segmented(TWO_STAGE, study), nib.load(contours[study]), NAMES)
    record(f"{TWO_STAGE}, {study}", found)
    assert min(found.values()) >= 0.99, found


@pytest.mark.parametrize("study", STUDIES)
@pytest.mark.parametrize("name", [name for name, spec in SPECS.items() if spec.organ])
def test_an_organ_alone_is_what_both_stages_make_of_it(name: str, study: str, segmented, contours, record) -> None:
    found = scores(segmented(name, study), nib.load(contours[study]), labels(name))
    record(f"{name}, {study}", found)
    assert min(found.values()) >= 0.99, found


def test_localizer_agrees_with_its_bundle_run_by_monai(segmented, studies, tmp_path, record) -> None:
    (tmp_path / "in").mkdir()
    shutil.copy(studies["askew"], tmp_path / "in")
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file"]
    command += [str(FOLDER / LOCALIZER / "configs/inference.json"), "--meta_file"]
    command += [str(FOLDER / LOCALIZER / "configs/metadata.json"), "--dataset_dir", str(tmp_path / "in")]
    subprocess.run([*command, "--output_dir", str(tmp_path)], check=True, capture_output=True, timeout=300)
    found = scores(segmented(LOCALIZER, "askew"), nib.load(tmp_path / "askew_seg.nii.gz"), NAMES)
    record(f"{LOCALIZER}, askew", found)
    assert min(found.values()) >= 0.99, found


def test_the_command_line_works_in_the_environment_of_monai_label(environment, contours, tmp_path, record) -> None:
    """With the older NumPy and pydicom that MONAI Label needs."""
    source = Path(__file__).parents[2] / "demo/ct"
    environment.run("oarseg", "segment", str(source), "-o", str(tmp_path / "out"), "--engine", "torch:fp32")
    assert (tmp_path / "out/rtstruct.dcm").is_file()
    here = nib.load(tmp_path / "out/segmentation.nii.gz")
    found = scores(here, nib.load(contours["from_dicom"]), NAMES)
    record("oarseg segment there", found)
    assert min(found.values()) >= 0.99, found


def test_ohif_gets_the_value_that_it_was_told(served, tmp_path) -> None:
    """OHIF asks for NRRD, and sets to zero what is no label of the model."""
    wanted = {"result_extension": ".nrrd", "result_dtype": "uint8", "result_compress": False}
    content, told = served.infer("mandible_ct_segmentation", "askew", **wanted, restore_label_idx=False)
    (tmp_path / "result.nrrd").write_bytes(content)
    data, header = nrrd.read(str(tmp_path / "result.nrrd"))
    assert header["type"] in ("unsigned char", "uint8")
    assert set(np.unique(data)) == {0, *told["label_names"].values()} == {0, NAMES["mandible"]}


def test_refuses_what_is_no_ct_and_goes_on(served, monai_label, studies, tmp_path) -> None:
    template = nib.load(studies["from_dicom"])
    ramp = np.linspace(0, 900, template.shape[0] * template.shape[1] * template.shape[2]).reshape(template.shape)
    for name, array in {"zero": np.zeros(template.shape), "mr": ramp}.items():
        nib.save(nib.Nifti1Image(array.astype(np.float32), template.affine), tmp_path / f"{name}.nii.gz")
        served.add_image(name, tmp_path / f"{name}.nii.gz")
    for image, reason in {
        "zero": "zero.nii.gz: every voxel is 0, the image is empty",
        "mr": "mr.nii.gz: does not look like CT in HU: values from 0 to 900",
        "nobody": "no image: its path is empty",
    }.items():
        with pytest.raises(monai_label.Refused) as refused:
            served.infer(TWO_STAGE, image)
        assert 400 <= refused.value.code < 600
        assert served.told(reason)
    with pytest.raises(monai_label.Refused):
        served.infer("no_such_bundle", "askew")
    content, _ = served.infer("eye_left_ct_segmentation", "askew")
    assert image_of(content).shape == nib.load(studies["askew"]).shape


def test_trains_from_saved_labels(
    monai_label, environment, new_app, studies, contours, run_oarseg, digest, tmp_path, record
) -> None:
    """One organ's network goes on from the shipped one, in a copy of the bundles; the result is put in, and used."""
    app, shipped = new_app(), digest(FOLDER)
    for name in SPECS:
        shutil.copytree(FOLDER / name, app / "model" / name)
    run_oarseg("bundles", "weights", TWO_STAGE, "--root", app / "model")
    before = digest(app / "model")
    trained = tmp_path / "runs" / TRAINED / "model.pt"
    (tmp_path / "studies").mkdir()
    with monai_label.Server(environment, app, [TWO_STAGE, TRAINED], tmp_path) as server:
        server.add_image("patient", studies["askew"])
        first = image_of(server.infer(TRAINED, "patient")[0])
        server.add_label("patient", contours["askew"])
        assert server.info()["datastore"]["completed"] == 1
        made = []
        for _ in range(2):  # the second request begins anew as well
            status = server.train(TRAINED, max_epochs=2, val_split=0, device="cpu")
            assert status["status"] == "DONE", "\n".join(status["details"])
            assert "Epoch[2] Complete" in "\n".join(status["details"])
            made.append(trained.stat().st_mtime_ns)
        assert made[0] < made[1]
        assert digest(app / "model") == before, "training changes no bundle by itself"
        run_oarseg("bundles", "weights", TRAINED, trained, "--root", app / "model")
        second = image_of(server.infer(TRAINED, "patient")[0])
    label = nib.load(contours["askew"])
    found = scores(second, label, labels(TRAINED))
    record("after training", found)
    assert not np.array_equal(voxels(first), voxels(second)), "the server goes on with the old network"
    assert found["brainstem"] > 0.6, "two steps on one case do not spoil it"
    changed = {path for path, sum_ in digest(app / "model").items() if before.get(path) != sum_}
    assert f"{TRAINED}/models/model.pt" in changed
    assert all(path.startswith(TRAINED) for path in changed), changed
    assert digest(FOLDER) == shipped


def test_a_label_map_without_the_organ_ends_the_training_with_the_reason(
    monai_label, environment, new_app, studies, tmp_path
) -> None:
    app = new_app()
    (app / "model" / TRAINED).symlink_to(FOLDER / TRAINED)
    image = nib.load(studies["askew"])
    nib.save(nib.Nifti1Image(np.zeros(image.shape, np.uint8), image.affine), tmp_path / "empty.nii.gz")
    (tmp_path / "studies").mkdir()
    with monai_label.Server(environment, app, [TRAINED], tmp_path) as server:
        server.add_image("patient", studies["askew"])
        server.add_label("patient", tmp_path / "empty.nii.gz")
        status = server.train(TRAINED, max_epochs=1, val_split=0, device="cpu")
        assert status["status"] == "ERROR"
        assert server.told("listed as labelling brainstem, but no voxel is 1")
        assert server.info()["name"].startswith("MONAILabel")
    assert not list((tmp_path / "runs").rglob("model.pt"))
