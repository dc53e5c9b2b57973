"""Running the networks: precision, windows, the localizer, and both stages chained."""

from importlib import import_module
from typing import Any

# Imported on first use: to contour a CT needs neither PyTorch nor MONAI, which take seconds to import.
_PLACES = {
    "AutocastInferer": "precision",
    "Canvas": "canvas",
    "LocalizerInferer": "inferers",
    "Pipeline": "pipeline",
    "Segmentation": "pipeline",
    "TwoStageInferer": "inferers",
    "TwoStageResult": "two_stage",
    "WindowInferer": "windows",
    "autocast": "precision",
    "load_localizer": "modules",
    "locate": "localize",
}
__all__ = list(_PLACES)


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
