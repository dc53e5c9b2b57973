"""A job from Python: what is refused before the CT is read, and what a result answers."""

from __future__ import annotations

import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from oarseg import segment
from oarseg.errors import ConfigError, InputError
from oarseg.inference.pipeline import Segmentation
from oarseg.inference.report.content import measure
from oarseg.sites import load_site

SITE = load_site()


class Stub:
    """A pipeline that finds a mandible in every CT, and whose libraries warn."""

    site, device, organs = SITE, "cpu", [SITE.organ("mandible"), SITE.organ("brainstem")]
    computed = {"name": "openvino", "precision": "int8", "networks": "models/compressed"}
    weights = {"bundle": "stub", "version": "0", "file": "model.pt", "sha256": "00"}

    def segment(self, image, progress) -> Segmentation:
        warnings.warn("from /usr/lib/python3/site-packages/library.py", stacklevel=1)
        label = np.zeros(image.hu.shape, np.uint8)
        label[4:12, 4:12, 4:12] = SITE.values["mandible"]
        found = measure(label, image.affine, SITE)
        return Segmentation(label, image.affine, {}, {"brainstem": "not there"}, {"segment": 1.0}, found, ["odd"])


@pytest.fixture
def ct(tmp_path: Path) -> Path:
    hu = np.full((24, 24, 24), -1000, np.int16)
    hu[2:22, 2:22, 2:22], hu[6:8, 6:8, 6:8] = 40, 900
    nib.save(nib.Nifti1Image(hu, np.diag([-4.0, -4, 4, 1])), tmp_path / "ct.nii.gz")
    return tmp_path / "ct.nii.gz"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "gpu"}, "unknown device 'gpu'"),
        ({"device": "cuda:99"}, "'cuda:99'"),
        ({"engine": "tensorrt"}, "unknown engine 'tensorrt'"),
        ({"formats": ["png"], "out": "out"}, "unknown format 'png'"),
        ({"pipeline": Stub(), "engine": "torch"}, "are the pipeline's"),
        ({"organs": "mandible"}, "give a list"),
    ],
)
def test_options_are_refused_before_the_ct_is_read(options: dict, message: str, tmp_path: Path) -> None:
    options = {**options, **({"out": tmp_path / options["out"]} if "out" in options else {})}
    with pytest.raises(ConfigError, match=message):
        segment(tmp_path / "is_not_there", **options)
    with pytest.raises(InputError, match="does not exist"):
        segment(tmp_path / "is_not_there")


def test_a_pipeline_may_be_given_as_what_loads_it(ct: Path) -> None:
    steps: list[str] = []
    done = segment(ct, pipeline=Stub, progress=steps.append)
    assert {"read", "load", "segment"} == set(done.report["seconds"]) and "write" not in done.report["seconds"]
    assert steps == ["reading the CT", "loading the networks"]
    again = segment(ct, pipeline=Stub())
    assert again.report["organs"] == done.report["organs"]


def test_a_result_names_what_computed_it_and_takes_both_kinds_of_names(ct: Path) -> None:
    done = segment(ct, pipeline=Stub)
    assert done.engine == "OpenVINO, 8 bits, compressed networks, on cpu" and done.warnings == ["odd"]
    for name in ("mandible", "Bone_Mandible", "BONE_MANDIBLE"):
        assert done.mask(name).sum() == 512
    assert not done.mask("Brainstem").any()
    with pytest.raises(ConfigError, match="did you mean mandible"):
        done.mask("Bone_Mandibel")
    assert list(done.report["organs"]) == ["brainstem", "mandible"]


def test_warnings_of_libraries_stay_inside(ct: Path) -> None:
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        segment(ct, pipeline=Stub)
    assert [str(warning.message) for warning in shown] == []
