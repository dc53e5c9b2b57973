"""The last line of a failed run of MONAI's bundles is oarseg's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from oarseg.bundle_runs import last_line
from oarseg.bundles import FOLDER
from oarseg.errors import InputError, OutputError

pytestmark = pytest.mark.slow


def raised(*errors: Exception) -> BaseException:
    """The last of ``errors``, each raised from the one before."""
    for cause, error in zip(errors, errors[1:], strict=False):
        error.__cause__ = cause
    return errors[-1]


def test_the_cause_is_told_in_one_line() -> None:
    ours = InputError("no datalist at\n/data/dataset.json")
    assert last_line(raised(KeyError("x"), ours, RuntimeError("Failed"), ValueError("again"))) == (
        "no datalist at /data/dataset.json"
    )
    assert last_line(raised(InputError("inner"), OutputError("outer"), RuntimeError("Failed"))) == "outer"
    assert last_line(raised(NotADirectoryError(20, "Not a directory", "/a/b"), RuntimeError("Failed"))) == (
        "/a/b: Not a directory"
    )
    assert last_line(raised(KeyError("x"), RuntimeError("Failed"))) is None


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["no datalist", "empty datalist", "no weights", "output is a file"])
def test_runs_end_with_the_path(fault: str, dataset_dir: Path, tmp_path: Path) -> None:
    configs = FOLDER / "hn_ct_localizer" / "configs"
    command = [sys.executable, "-m", "monai.bundle", "run", "--dataset_dir", str(tmp_path)]
    expected = str(tmp_path / "dataset.json")
    if fault == "no weights":
        (tmp_path / "ct.nii.gz").write_bytes(b"")
        command += ["--ckpt_path", expected, "--config_file", str(configs / "inference.json")]
    else:
        command += ["training", "--config_file", str(configs / "train.json")]
    if fault == "empty datalist":
        (tmp_path / "dataset.json").write_text('{"training": []}', encoding="utf-8")
    if fault == "output is a file":
        (tmp_path / "file").write_text("", encoding="utf-8")
        expected = str(tmp_path / "file")
        command[5] = str(dataset_dir)
        command += ["--output_dir", str(tmp_path / "file" / "run")]
        command += ["--train#dataset#num_workers", "0", "--validate#dataset#num_workers", "0"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ") and expected in last, last
