"""oarseg contours organs at risk in radiotherapy planning CT. For research use; not a medical device.

>>> from oarseg import segment
>>> result = segment("planning_ct", "contours")                    # doctest: +SKIP
>>> result.volumes_cm3["mandible"]                                 # doctest: +SKIP
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from oarseg._version import __version__
from oarseg.bundle_runs import end_with_our_line
from oarseg.lazy import lazy_names

if TYPE_CHECKING:
    from oarseg.errors import OarsegError
    from oarseg.inference.job import Result, segment
    from oarseg.inference.pipeline import Pipeline, Segmentation

__all__ = ["OarsegError", "Pipeline", "Result", "Segmentation", "__version__", "segment"]

# The Python API, each name's module: imported on first use, so that ``import oarseg`` stays quick.
_public = lazy_names(
    __name__,
    {
        "OarsegError": ".errors",
        "Pipeline": ".inference.pipeline",
        "Result": ".inference.job",
        "Segmentation": ".inference.pipeline",
        "segment": ".inference.job",
    },
)
end_with_our_line()
# Sub-packages that a bundle's config reaches by ``import oarseg`` alone.
_ROOMS = {
    "bundles", "cohort", "compression", "datasets", "dicom", "dicomweb", "evaluation", "geometry", "images",
    "inference", "networks", "node", "sites", "training", "transforms",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    return import_module(f"{__name__}.{name}") if name in _ROOMS else _public(name)
