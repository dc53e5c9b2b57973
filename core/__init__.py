"""oarseg contours organs at risk in radiotherapy planning CT. For research use; not a medical device.

>>> from oarseg import segment
>>> result = segment("planning_ct", "contours")                    # doctest: +SKIP
>>> result.volumes_cm3["mandible"]                                 # doctest: +SKIP
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from oarseg._version import __version__

if TYPE_CHECKING:
    from oarseg.errors import OarsegError
    from oarseg.inference.job import Result, segment
    from oarseg.inference.pipeline import Pipeline, Segmentation

__all__ = ["OarsegError", "Pipeline", "Result", "Segmentation", "__version__", "segment"]

# The Python API, each name's module: imported on first use, so that ``import oarseg`` stays quick.
_API = {
    "OarsegError": "errors",
    "Pipeline": "inference.pipeline",
    "Result": "inference.job",
    "Segmentation": "inference.pipeline",
    "segment": "inference.job",
}

_SUBPACKAGES = {
    "bundles",
    "cohort",
    "compression",
    "datasets",
    "dicom",
    "dicomweb",
    "evaluation",
    "inference",
    "networks",
    "node",
    "sites",
    "training",
    "transforms",
}


def __getattr__(name: str) -> Any:
    """Sub-packages on first use: a bundle's config needs this one import only."""
    if name in _API:
        return getattr(import_module(f"oarseg.{_API[name]}"), name)
    if name in _SUBPACKAGES:
        return import_module(f"oarseg.{name}")
    raise AttributeError(f"module 'oarseg' has no attribute {name!r}")
