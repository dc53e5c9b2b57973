"""The Python API as a caller's type checker sees it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from configparser import ConfigParser
from importlib import resources
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
# A caller's script; what stands behind "# is" is the type that mypy finds for reveal_type's argument.
SCRIPT = """
from pathlib import Path

from oarseg import OarsegError, Pipeline, Result, Segmentation, __version__, segment
from oarseg.cohort import Options, find_remote_cases, run_cohort, source_of
from oarseg.dicomweb import NotStored, Server, fetched, find_series, segment_series, store
from oarseg.errors import GeometryError, InputError
from oarseg.images.read import read_image

pipeline = Pipeline(device="cpu", engine="auto", organs=["mandible"])
result = segment("planning_ct", Path("contours"), formats=["nifti"], pipeline=pipeline, progress=print)
reveal_type(result)  # is Result
reveal_type(result.volumes_cm3)  # is dict[str, float]
reveal_type(result.warnings)  # is list[str]
reveal_type(result.files)  # is tuple[str, ...]
reveal_type(result.folder)  # is Path | None
reveal_type(result.mask("mandible").shape)  # is tuple[Any, ...]
reveal_type(result.site.values)  # is dict[str, int]
reveal_type(result.segmentation.measures["mandible"].centroid_lps_mm)  # is tuple[float, float, float]
reveal_type(result.segmentation.missing)  # is dict[str, str]
reveal_type(pipeline.segment(read_image("ct.nii.gz")))  # is Segmentation
reveal_type(__version__)  # is str
server = Server("https://pacs/dicom-web", ca_bundle="hospital.pem")
reveal_type(segment_series(server, "1.2.3", "contours", organs=["mandible"]))  # is Result
reveal_type(store(server, ["contours/rtstruct.dcm"]))  # is tuple[str, ...]
reveal_type([series.count for series in find_series(server, {"StudyDate": "20260101-"})])  # is list[int | None]
with fetched(server, "1.2.3") as folder:
    reveal_type(folder)  # is Path
cases = find_remote_cases(server, {"PatientID": "7"})
options = Options(organs=["mandible"], store_on=server)
reveal_type(run_cohort(cases, source_of(server, {"PatientID": "7"}), Path("out"), options).failed)  # is int


def kept(error: NotStored) -> Result | None:
    return error.result


def label_map(earlier: Result) -> Segmentation:
    try:
        return segment("planning_ct").segmentation
    except (InputError, GeometryError) as error:
        raise SystemExit(str(error)) from error
    except OarsegError:
        return earlier.segmentation
"""
WRONG = {
    'segment("ct", "out", formats="nifti", overwrite="yes")': "overwrite",
    'segment("ct", "out", gpu=True)': "gpu",
    'segment("ct").volume': "volume",
    'segment("ct", "out", ["mandible"])': "positional",
}

pytest.importorskip("mypy", reason="needs mypy: pip install 'oarseg[test]'")


@pytest.fixture(scope="module")
def check(tmp_path_factory: pytest.TempPathFactory):
    """``check(text)``: exit code and output of ``mypy --strict`` on a caller's script.

    mypy finds no packages that an import hook places, as an editable installation does, so they are laid out here.
    Their own code is followed for its types, as an installed package's is, and not judged.
    """
    folder = tmp_path_factory.mktemp("typing")
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    places = dict(line.split(" = ") for line in setup["options"]["package_dir"].strip().splitlines())
    for package, place in places.items():
        target = folder / "path" / package.replace(".", "/")
        target.mkdir(parents=True)
        for path in (ROOT / place).iterdir():
            if path.name != "__pycache__":
                (target / path.name).symlink_to(path)

    def run(text: str) -> tuple[int, str]:
        (folder / "script.py").write_text(text, encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "--config-file=", "script.py"],
            cwd=folder, env={**os.environ, "MYPYPATH": str(folder / "path")}, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    return run


def test_a_script_is_typed(check) -> None:
    code, told = check(SCRIPT)
    assert code == 0, told
    found = re.findall(r'Revealed type is "(.*)"', told)
    # Without the modules' names.
    assert [re.sub(r"\b\w+(\.\w+)*\.(?=\w)", "", kind) for kind in found] == re.findall(r"# is (.*)", SCRIPT)


def test_mistakes_are_found(check) -> None:
    lines = ["from oarseg import segment", *WRONG]
    code, told = check("\n".join(lines) + "\n")
    assert code == 1
    for number, word in enumerate(WRONG.values(), 2):
        assert re.search(rf"script\.py:{number}: .*{word}", told), told


def test_the_package_says_that_it_is_typed() -> None:
    assert resources.files("oarseg").joinpath("py.typed").is_file()
    assert "py.typed" in (ROOT / "setup.cfg").read_text(encoding="utf-8")
