"""Settings: the example, each way to get a key wrong, and the command's other options."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

import pytest

pytest.importorskip("pynetdicom", reason="needs pynetdicom: pip install 'oarseg[node]'")

from oarseg.cli import main
from oarseg.errors import ConfigError
from oarseg.identity import uid_hash
from oarseg.node.config import EXAMPLE, Config, parse_config, read_config

GOOD = """
[node]
ae_title = "OARSEG"
spool = "spool"
[allow]
ae_titles = ["SCANNER"]
[[destination]]
name = "planning"
ae_title = "PLANNING"
host = "127.0.0.1"
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "node.toml"
    path.write_text(text)
    return path


def test_the_example_is_good_and_tells_every_key_with_its_default(tmp_path):
    text = EXAMPLE.read_text()
    config = read_config(write(tmp_path, text))
    assert config.node.spool == tmp_path / "spool"
    # With every "# key = value" made effective, nothing changes but what has no default.
    lines = [re.sub(r"^# (\w+ = )", r"\1", line) for line in text.splitlines()]
    every = tomllib.loads("\n".join(lines))
    every["segment"].pop("bundle")
    assert every.pop("tls") == {"certificate": "node.pem", "key": "node.key", "authorities": "ca.pem"}
    assert parse_config(every, tmp_path) == config
    told = {section: set(row if isinstance(row, dict) else row[0]) for section, row in every.items()}
    for section, kind in Config.__annotations__.items():
        if section not in ("destinations", "tls"):
            assert told[section] | {"bundle"} >= set(vars(getattr(config, section))), (section, kind)
    assert told["destination"] == set(vars(config.destinations[0]))


@pytest.mark.parametrize(
    "old, new, told",
    [
        ('"OARSEG"', '"SEVENTEEN_LETTERS"', r"\[node\]: ae_title is 'SEVENTEEN_LETTERS', expected 1 to 16"),
        ('"OARSEG"', '"A\\\\B"', "printable ASCII"),
        ('spool = "spool"', "", r"\[node\] lacks 'spool'"),
        ('spool = "spool"', "spool = 5", r"\[node\]: spool is 5, expected a path"),
        ("[allow]", "port = 70000\n[allow]", r"\[node\]: port is 70000, expected a whole number, 1 to 65535"),
        ("[allow]", "port = true\n[allow]", r"port is True, expected a whole number"),
        ("[allow]", "quiet_seconds = -1\n[allow]", "quiet_seconds is -1, expected a number of 0 or more"),
        ("[allow]", "quiet_seconds = nan\n[allow]", "quiet_seconds is nan, expected a number of 0 or more"),
        ("[allow]", "prot = 104\n[allow]", "unknown field 'prot'; expected: ae_title, spool"),
        ("[allow]", "[nodes]\n[allow]", r"unknown section \[nodes\]"),
        ("[allow]", "stop_seconds = 1e300\n[allow]", r"stop_seconds is 1e\+300, expected .* below 1000000"),
        ('["SCANNER"]', '"SCANNER"', "ae_titles is 'SCANNER', expected a list of 1 or more"),
        ('["SCANNER"]', "[]", r"\[allow\]: ae_titles is \[\], expected a list of 1 or more"),
        ('["SCANNER"]', '["SCANNER"]\npeers = []', r"peers is \[\], expected a list of 1 or more"),
        ("[[destination]]", "[segment]\nformats = []\n[[destination]]", r"formats is \[\], expected a list"),
        ("[[destination]]", '[segment]\nformats = ["rtstruct", "rtstruct"]\n[[destination]]', "expected each once"),
        ('host = "127.0.0.1"', 'host = "127.0.0.1 "', "expected a name or an address"),
        ('["SCANNER"]', '["SCANNER"]\npeers = ["10.0.0.1/8"]', r"peers is \[\'10.0.0.1/8\'\], expected an address"),
        ('"planning"', '"the planning"', "expected 1 to 40 letters"),
        ('host = "127.0.0.1"', "", r"1 lacks 'host'"),
        ("[[destination]]", "[limits]\nassociations = 0\n[[destination]]", "associations is 0, expected a whole"),
        ("[[destination]]", '[http]\naddress = "0.0.0.0"\n[[destination]]', "expected a loopback address"),
        ("[[destination]]", '[segment]\nformats = ["nifti"]\n[[destination]]', "expected one of rtstruct, seg"),
        ("[[destination]]", '[tls]\nkey = "node.toml"\n[[destination]]', "needs both certificate and key"),
        ("[[destination]]", '[tls]\nauthorities = "no.pem"\n[[destination]]', "no.pem is no file"),
        ("[[destination]]", f'[tls]\nauthorities = "{"9" * 5000}"\n[[destination]]', "99 is no file"),
        ('host = "127.0.0.1"', 'host = "x"\ntls = true', "authorities is missing"),
        ("[[destination]]", "[delivery]\nlongest_retry_seconds = 1\n[[destination]]", "below first_retry_seconds"),
        ("[node]", "[node", "is no TOML"),
    ],
)
def test_what_is_wrong_is_told(tmp_path, old, new, told):
    assert old in GOOD
    with pytest.raises(ConfigError, match=told):
        read_config(write(tmp_path, GOOD.replace(old, new)))


def test_destinations(tmp_path):
    head, _, place = GOOD.partition("[[destination]]")
    with pytest.raises(ConfigError, match=r"no \[\[destination\]\]"):
        read_config(write(tmp_path, head))
    with pytest.raises(ConfigError, match="two .* have the name 'planning'"):
        read_config(write(tmp_path, f"{GOOD}[[destination]]{place}"))


def test_the_command_checks_settings(tmp_path, capsys):
    assert main(["serve", "--example"]) == 0
    assert capsys.readouterr().out == EXAMPLE.read_text()
    assert main(["serve", "--check", str(write(tmp_path, GOOD))]) == 0
    said = capsys.readouterr().out
    assert "listens as OARSEG on 0.0.0.0 port 11112, no TLS" in said and "JPEG 2000" in said
    assert "sends rtstruct to PLANNING at 127.0.0.1 port 104" in said and not (tmp_path / "spool").exists()
    assert main(["serve", "--check", str(tmp_path / "none.toml")]) == 2
    assert "oarseg serve --example prints one" in capsys.readouterr().err
    assert main(["serve"]) == 2
    (tmp_path / "bad.toml").write_text(GOOD + '[segment]\norgans = ["liver"]\n')
    assert main(["serve", "--check", str(tmp_path / "bad.toml")]) == 2
    assert "liver" in capsys.readouterr().err


@pytest.mark.parametrize("package", ["pynetdicom", "prometheus_client"])
def test_says_how_to_get_a_missing_package(tmp_path, capsys, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    assert main(["serve", str(write(tmp_path, GOOD))]) == 2
    assert f"{package}: pip install 'oarseg[node]'" in capsys.readouterr().err


def test_retry_all_without_dead_letters_says_that_nothing_waits(tmp_path, capsys):
    assert main(["serve", "--retry", "all", str(write(tmp_path, GOOD))]) == 0
    assert "no dead letter waits" in capsys.readouterr().out


def test_dead_letters_are_tried_again_by_name(site, tools, capsys):
    node, slices = site.start(), tools.ct_slices(2)
    site.send(slices)
    tools.wait_for(lambda: site.totals(node) == {"failed": 1})
    site.stop(node)
    path = site.folder / "node.toml"
    path.write_text(GOOD)
    name = uid_hash(slices[0].SeriesInstanceUID)[:16]
    assert main(["serve", "--retry", "0000000000", str(path)]) == 2
    assert "no dead letter of that name" in capsys.readouterr().err
    assert main(["serve", "--retry", name, str(path)]) == 0
    assert "1 series will be tried again" in capsys.readouterr().out
    assert not list((site.folder / "spool/dead-letter").iterdir())
    node = site.start()
    tools.wait_for(lambda: site.totals(node) == {"failed": 2})
    assert site.segmenter.calls == [2, 2]
