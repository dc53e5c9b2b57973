"""Running the networks: precision, windows, the localizer, and both stages chained."""

from oarseg.inference.canvas import Canvas
from oarseg.inference.localize import LocalizerInferer, locate
from oarseg.inference.pipeline import Pipeline, Segmentation, load_localizer
from oarseg.inference.precision import AutocastInferer, autocast
from oarseg.inference.two_stage import TwoStageInferer, TwoStageResult
from oarseg.inference.windows import WindowInferer

__all__ = [
    "AutocastInferer",
    "Canvas",
    "LocalizerInferer",
    "Pipeline",
    "Segmentation",
    "TwoStageInferer",
    "TwoStageResult",
    "WindowInferer",
    "autocast",
    "load_localizer",
    "locate",
]
