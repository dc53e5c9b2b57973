"""Packages that not every installation has, and the one line to show where one of them is missing."""

from __future__ import annotations

import sys
from importlib.util import find_spec

from oarseg.errors import ConfigError

# By the name that is imported: the package's name for people, and the extra that installs it.
EXTRAS = {
    "torch": ("PyTorch", "monai"),
    "monai": ("MONAI", "monai"),
    "openvino": ("OpenVINO", "openvino"),
    "nncf": ("NNCF", "calibrate"),
    "highdicom": ("highdicom", "seg"),
    "ray": ("Ray", "cluster"),
    "dicomweb_client": ("dicomweb-client", "dicomweb"),
    "pynetdicom": ("pynetdicom", "node"),
    "prometheus_client": ("prometheus_client", "node"),
}


def installed(package: str) -> bool:
    """Return whether a package can be imported, without importing it. ``package``: the name that is imported."""
    if package in sys.modules:
        return sys.modules[package] is not None
    try:
        spec = find_spec(package)
    except ImportError:  # blocked by an import hook
        return False
    # A folder that was left behind is found too, as a namespace package, which has no origin.
    return spec is not None and spec.origin is not None


def require(task: str, *packages: str) -> None:
    """Raise ConfigError with the pip command if a package that ``task`` needs is not installed.

    Args: ``task``: subject of the message, such as "oarseg compress". ``packages``: keys of ``EXTRAS``.

    >>> require("oarseg compress", "torch", "monai")               # doctest: +SKIP
    ConfigError: oarseg compress needs PyTorch and MONAI: pip install 'oarseg[monai]'
    """
    missing = [package for package in packages if not installed(package)]
    if missing:
        raise ConfigError(needs(task, *missing))


def lacking(task: str, error: ModuleNotFoundError) -> ConfigError | None:
    """Return the error to show for a failed import: the packages of its extra; None if no extra has the package."""
    package = (error.name or "").partition(".")[0]
    if package not in EXTRAS or installed(package):
        return None
    extra = EXTRAS[package][1]
    return ConfigError(needs(task, *(p for p, (_, e) in EXTRAS.items() if e == extra and not installed(p))))


def needs(task: str, *packages: str) -> str:
    """Return the line that says that ``task`` needs ``packages`` (keys of ``EXTRAS``), and how to install them."""
    names = " and ".join(EXTRAS[package][0] for package in packages)
    extras = ",".join(dict.fromkeys(EXTRAS[package][1] for package in packages))
    return f"{task} needs {names}: pip install 'oarseg[{extras}]'"
