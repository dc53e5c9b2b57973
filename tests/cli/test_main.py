"""The command line as such: help, registry, progress, and every way to end."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

import oarseg.cli
from oarseg.cli import main
from oarseg.cli._main import COMMANDS
from oarseg.cli._progress import Progress, throttled
from oarseg.errors import InputError


def run_with(monkeypatch, action) -> int:
    """Exit code of ``oarseg organs`` whose work is replaced by ``action``."""
    monkeypatch.setattr("oarseg.cli.organs.load_site", lambda name: action())
    return main(["organs"])


def raising(error: BaseException):
    def act():
        raise error

    return act


def test_help_loads_neither_torch_nor_monai():
    code = (
        "import sys; from oarseg.cli import main; code = main(['--help']); "
        "sys.exit(code or any(m in sys.modules for m in ('torch', 'monai', 'matplotlib', 'pydicom')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name in COMMANDS:
        assert name in done.stdout


def test_every_command_has_help(capsys):
    for name in COMMANDS:
        assert main([name, "--help"]) == 0
        assert f"oarseg {name}" in capsys.readouterr().out
    files = Path(oarseg.cli.__file__).parent.glob("[a-z]*.py")
    assert {path.stem for path in files} == set(COMMANDS), "a module for each command"


def test_version_and_wrong_options(capsys):
    assert main(["--version"]) == 0
    assert main(["nonsense"]) == 2 and main(["segment"]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_organs_lists_the_table(capsys):
    assert main(["organs"]) == 0
    assert "OpticNrv_L" in capsys.readouterr().out
    assert main(["organs", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 8
    assert main(["organs", "--site", "elbow"]) == 2
    said = capsys.readouterr().err
    assert "known sites: " in said and "head_neck" in said


@pytest.mark.parametrize(
    "error, code, told",
    [
        (InputError("ct.nii: is bad; do this"), 2, "oarseg: error: ct.nii: is bad; do this\n"),
        (ValueError("what\nis this"), 1, "oarseg: unexpected error: ValueError: what is this\n"),
        (MemoryError(), 1, "out of memory"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_how_it_ends(error, code, told, monkeypatch, capsys):
    assert run_with(monkeypatch, raising(error)) == code
    said = capsys.readouterr().err
    assert told in said and "Traceback" not in said


def test_a_package_that_is_not_installed_is_named_with_its_extra(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert run_with(monkeypatch, raising(ModuleNotFoundError("No module named 'torch.nn'", name="torch.nn"))) == 2
    assert "oarseg organs needs PyTorch: pip install 'oarseg[monai]'" in capsys.readouterr().err


def test_verbose_shows_where_an_error_came_from(monkeypatch, capsys):
    monkeypatch.setattr("oarseg.cli.organs.load_site", lambda name: raising(InputError("bad"))())
    assert main(["organs", "-v"]) == 2
    said = capsys.readouterr().err
    assert "Traceback" in said and said.endswith("oarseg: error: bad\n")


@pytest.mark.skipif(os.name != "posix", reason="signals differ on Windows")
def test_a_request_to_end_cleans_up_like_ctrl_c():
    """In a process of its own: a signal that is not caught would end the tests."""
    code = (
        "import os, signal, sys; import oarseg.cli.organs as organs; from oarseg.cli import main; "
        "organs.load_site = lambda name: os.kill(os.getpid(), signal.SIGTERM); code = main(['organs']); "
        "sys.exit(code if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL else 1)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 130


def test_progress_is_one_line_a_step():
    stream = io.StringIO()
    with Progress(3, stream=stream) as tell:
        tell("reading the CT")
        tell("stage 2: left eye")
        tell("stage 2: right eye")
        tell("writing")
    lines = stream.getvalue().splitlines()
    assert [line.split(" ... ")[0] for line in lines] == [
        "[1/3] reading the CT", "[2/3] stage 2: left eye", "[2/3] stage 2: right eye", "[3/3] writing",
    ]  # fmt: skip
    assert all(line.endswith(" s") for line in lines)


def test_progress_can_be_silent_and_stops_at_an_error():
    stream = io.StringIO()
    with Progress(3, quiet=True, stream=stream) as tell:
        tell("reading")
    assert stream.getvalue() == ""
    with pytest.raises(InputError), Progress(3, stream=stream) as tell:
        tell("reading")
        raise InputError("bad")
    assert stream.getvalue() == "[1/3] reading ... \n"


@pytest.mark.parametrize("command", ["segment", "organs"])
def test_one_command_alone_is_imported(command: str) -> None:
    code = (
        f"import sys; from oarseg.cli import main; main(['{command}', '--help']); "
        "print('\\n'.join(m for m in sys.modules if m.startswith('oarseg.cli.')))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    names = {line.removeprefix("oarseg.cli.") for line in shown.splitlines() if line.startswith("oarseg.cli.")}
    assert {name for name in names if not name.startswith("_")} == {command}


def test_bare_command_is_the_help(capsys):
    assert main([]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in COMMANDS) and "3 no organ was found" in shown


def test_a_wrong_option_shows_the_usage_of_its_command(capsys):
    assert main(["segment", "in", "-i", "x"]) == 2
    said = capsys.readouterr().err
    assert "usage: oarseg segment" in said and "-i" in said


def test_a_list_in_an_error_ends_its_lines(monkeypatch, capsys):
    """No line end is shown as two characters; a file name's line break is not a line end of ours to trust."""
    error = InputError("two series:\n  1. a\n  2. b\x1b[31m")
    assert run_with(monkeypatch, raising(error)) == 2
    assert capsys.readouterr().err == "oarseg: error: two series:\n  1. a\n  2. b\\x1b[31m\n"


def test_counts_within_a_step_are_throttled():
    seen: list[str] = []
    report = throttled(seen.append, every=60)
    for step in ("fetching", "fetching: 1 of 9 slices", "fetching: 2 of 9 slices", "fetching: asked again", "storing"):
        report(step)
    assert seen == ["fetching", "fetching: asked again", "storing"]


def test_statistics_of_no_bundle(tmp_path: Path, capsys):
    assert main(["statistics", "liver_ct_segmentation", "--dataset-dir", str(tmp_path)]) == 2
    assert "no bundle liver_ct_segmentation" in capsys.readouterr().err


@pytest.mark.parametrize("options, shown", [([], False), (["-v"], True)])
def test_warnings_of_libraries_are_shown_with_v_only(monkeypatch, options: list[str], shown: bool) -> None:
    def warn(name: str):
        warnings.warn("odd.py:12: look here", stacklevel=1)
        raise InputError("done")

    monkeypatch.setattr("oarseg.cli.organs.load_site", warn)
    with warnings.catch_warnings(record=True, action="always") as seen:
        assert main(["organs", *options]) == 2
    assert bool(seen) is shown
