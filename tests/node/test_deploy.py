"""The systemd unit and the container file: what can be told of them where neither systemd nor podman is."""

from __future__ import annotations

import configparser
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from oarseg.cli._main import build_parser
from oarseg.node import config as settings

ROOT = Path(settings.__file__).parents[1]
DEPLOY = Path(settings.__file__).parent / "deploy"
UNIT = DEPLOY / "oarseg.service"
if not (ROOT / "setup.cfg").is_file():
    pytest.skip("not in the repository's folder", allow_module_level=True)


@pytest.fixture
def unit() -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str
    parser.read_string(UNIT.read_text())
    return parser


def commands() -> dict[str, list[str]]:
    """The command of each file, as words."""
    (line,) = re.findall(r"^ExecStart=(.+)$", UNIT.read_text(), re.M)
    (listed,) = re.findall(r"^CMD (\[.+\])$", (DEPLOY / "Containerfile").read_text(), re.M)
    return {"unit": shlex.split(line), "container": re.findall(r'"([^"]+)"', listed)}


@pytest.mark.parametrize("which", ["unit", "container"])
def test_the_command_is_one_of_oarsegs(which):
    program, *arguments = commands()[which]
    assert program == "/opt/oarseg/bin/oarseg"
    args = build_parser().parse_args(arguments)
    assert args.run.__module__ == "oarseg.cli.serve" and args.config == Path("/etc/oarseg/node.toml")


def test_the_unit_gives_the_node_time_to_end(unit):
    service = unit["Service"]
    assert float(service["TimeoutStopSec"]) > settings.Listen("A", Path()).stop_seconds
    assert service["Restart"] == "always" and service["User"] not in ("", "root", "0")
    # OpenVINO and PyTorch write machine code and run it.
    assert "MemoryDenyWriteExecute" not in service


def test_what_the_node_needs_to_write_is_open_to_it(unit):
    service = unit["Service"]
    assert service["ProtectSystem"] == "strict"
    assert service["StateDirectory"] == service["CacheDirectory"] == "oarseg"
    assert service["Environment"] == f"XDG_CACHE_HOME=/var/cache/{service['CacheDirectory']}"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_knows_every_line(tmp_path):
    # A program that exists here: the one of the unit is not installed.
    text = UNIT.read_text().replace("/opt/oarseg/bin/oarseg", shutil.which("true"))
    (tmp_path / UNIT.name).write_text(text.replace("User=oarseg", "User=root"))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(tmp_path / UNIT.name)],
        capture_output=True, text=True, env={**os.environ, "SYSTEMD_LOG_LEVEL": "warning"},
    )  # fmt: skip
    assert UNIT.name not in done.stderr, done.stderr


def test_the_container_has_what_setup_cfg_has():
    text = (DEPLOY / "Containerfile").read_text()
    setup = configparser.RawConfigParser()
    setup.read(ROOT / "setup.cfg")
    extras = re.search(r"/src\[([\w,]+)\]", text).group(1).split(",")
    assert extras and set(extras) <= set(setup["options.extras_require"])
    assert "node" in extras and (ROOT / "constraints.txt").is_file() and "/src/constraints.txt" in text
    assert re.search(r"^USER [1-9]\d*$", text, re.M)
    minimum = re.search(r">=3\.(\d+)", setup["options"]["python_requires"]).group(1)
    assert int(re.search(r"^ARG BASE=\S+python:3\.(\d+)", text, re.M).group(1)) >= int(minimum)


def test_the_container_is_built_from_every_package():
    ignored = (DEPLOY / "Containerfile.dockerignore").read_text().splitlines()
    setup = configparser.RawConfigParser()
    setup.read(ROOT / "setup.cfg")
    folders = {line.split("=")[1].strip() for line in setup["options"]["package_dir"].strip().splitlines()}
    assert folders and not folders & set(ignored)
    assert not {"setup.cfg", "pyproject.toml", "constraints.txt", "README.md", "LICENSE"} & set(ignored)


def test_the_port_of_the_container_is_the_nodes():
    exposed = re.search(r"^EXPOSE (\d+)$", (DEPLOY / "Containerfile").read_text(), re.M).group(1)
    assert int(exposed) == settings.Listen("A", Path()).port
