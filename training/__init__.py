"""What the bundles' training needs beside MONAI's handlers: resume, a progress bar, statistics and weight files."""

from importlib import import_module
from typing import Any

# Imported on first use: who only loads weights should not wait for MONAI and Ignite.
_PLACES = {
    "AugmentOnDevice": "on_device",
    "LoadWeights": "weights",
    "ResumableCheckpoint": "handlers",
    "UpdateAverage": "average",
    "WeightAverage": "average",
    "host_share": "on_device",
    "leave_process_group": "distributed",
    "load_weights": "weights",
    "mirrored": "weights",
    "on_main_rank": "handlers",
    "prepare_staged_batch": "handlers",
    "progress_bar": "handlers",
    "quick_convolutions": "on_device",
    "read_state": "weights",
    "save_weights": "weights",
    "verified": "weights",
}
__all__ = list(_PLACES)


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
