"""Optional packages: what is there, and the line about what is not."""

import sys

import pytest

from oarseg.errors import ConfigError
from oarseg.requires import EXTRAS, installed, lacking, require


class Blocked:
    """A finder by which no package can be imported that ``names`` holds."""

    def __init__(self, *names):
        self.names = names

    def find_spec(self, name, path=None, target=None):
        if name in self.names:
            raise ImportError(f"{name} is blocked")


@pytest.fixture
def blocked(monkeypatch):
    for name in ("torch", "monai"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(sys, "meta_path", [Blocked("torch", "monai", "surely_absent"), *sys.meta_path])


def test_what_is_installed_is_known_without_an_import():
    assert installed("numpy") and not installed("surely_absent")


def test_a_blocked_package_is_not_installed(blocked):
    assert not installed("torch")


def test_a_package_taken_out_of_the_imports_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert not installed("ray")


def test_the_line_names_the_task_the_packages_and_the_command(blocked):
    with pytest.raises(ConfigError) as caught:
        require("oarseg compress", "torch", "monai")
    assert str(caught.value) == "oarseg compress needs PyTorch and MONAI: pip install 'oarseg[monai]'"


def test_packages_of_several_extras_are_installed_by_one_command(monkeypatch):
    for name in ("ray", "dicomweb_client"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigError, match=r"'oarseg\[cluster,dicomweb\]'"):
        require("oarseg batch --dicomweb", "ray", "dicomweb_client")


def test_what_is_there_is_not_asked_for():
    require("anything", "torch", "highdicom")


def test_every_extra_is_one_of_setup_cfg():
    import configparser
    from pathlib import Path

    setup = configparser.ConfigParser()
    setup.read(Path(__file__).parents[2] / "setup.cfg")
    assert {extra for _, extra in EXTRAS.values()} <= set(setup["options.extras_require"])


def test_a_failed_import_becomes_the_line_for_its_extra(blocked):
    error = lacking("oarseg evaluate", ModuleNotFoundError("No module named 'torch.nn'", name="torch.nn"))
    assert isinstance(error, ConfigError) and "oarseg evaluate needs PyTorch and MONAI" in str(error)
    assert lacking("oarseg evaluate", ModuleNotFoundError("No module named 'oarseg.x'", name="oarseg.x")) is None
