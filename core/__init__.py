"""oarseg contours organs at risk in radiotherapy planning CT. For research use; not a medical device."""

from importlib import import_module

from oarseg._version import __version__

__all__ = ["__version__"]

_SUBPACKAGES = {
    "bundles",
    "compression",
    "datasets",
    "dicom",
    "evaluation",
    "inference",
    "networks",
    "sites",
    "training",
    "transforms",
}


def __getattr__(name: str):
    """Sub-packages on first use: ``import oarseg`` stays quick, and a bundle's config needs this one import only."""
    if name in _SUBPACKAGES:
        return import_module(f"oarseg.{name}")
    raise AttributeError(f"module 'oarseg' has no attribute {name!r}")
