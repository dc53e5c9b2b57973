"""The command line as such: help, registry, progress, and every way to end."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys

import pytest

from oarseg.cli import main
from oarseg.cli._main import find_commands
from oarseg.cli._progress import Progress
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
    for module in find_commands():
        assert module.NAME in done.stdout


def test_every_command_has_help(capsys):
    for module in find_commands():
        assert main([module.NAME, "--help"]) == 0
        assert f"oarseg {module.NAME}" in capsys.readouterr().out
    assert {"segment", "demo", "organs"} <= {m.NAME for m in find_commands()}


def test_version_and_wrong_options(capsys):
    assert main(["--version"]) == 0
    assert main(["nonsense"]) == 2 and main([]) == 2 and main(["segment"]) == 2
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


def test_verbose_shows_where_an_error_came_from(monkeypatch, capsys):
    monkeypatch.setattr("oarseg.cli.organs.load_site", lambda name: raising(InputError("bad"))())
    assert main(["organs", "-v"]) == 2
    said = capsys.readouterr().err
    assert "Traceback" in said and said.endswith("oarseg: error: bad\n")


@pytest.mark.skipif(os.name != "posix", reason="signals differ on Windows")
def test_a_request_to_end_cleans_up_like_ctrl_c(monkeypatch):
    assert run_with(monkeypatch, lambda: os.kill(os.getpid(), signal.SIGTERM)) == 130
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


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
