"""Running the networks: precision, windows, the localizer, and both stages chained."""

from oarseg.lazy import lazy_names

# Imported on first use: to contour a CT needs neither PyTorch nor MONAI, which take seconds to import.
_MODULES = {
    "AutocastInferer": "oarseg.training.precision",
    "Canvas": "oarseg.geometry.canvas",
    "LocalizerInferer": ".inferers",
    "Pipeline": ".pipeline",
    "Segmentation": ".pipeline",
    "TwoStageInferer": ".inferers",
    "TwoStageResult": ".two_stage",
    "WindowInferer": ".windows",
    "autocast": "oarseg.training.autocast",
    "load_localizer": ".modules",
    "locate": ".localize",
}
__all__ = list(_MODULES)
__getattr__ = lazy_names(__name__, _MODULES)
