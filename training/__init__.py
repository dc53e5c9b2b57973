"""What the bundles' training needs beside MONAI's handlers: resume, a progress bar, statistics and weight files."""

from oarseg.lazy import lazy_names

# Imported on first use: who only loads weights should not wait for MONAI and Ignite.
_MODULES = {
    "AugmentOnDevice": ".on_device",
    "AutocastInferer": ".precision",
    "LoadWeights": ".weights",
    "ResumableCheckpoint": ".handlers",
    "SetStatistics": ".statistics",
    "UpdateAverage": ".average",
    "ValidateByEpoch": ".handlers",
    "WeightAverage": ".average",
    "epoch_count": ".handlers",
    "fitting_loss": "oarseg.networks.losses",
    "host_share": ".on_device",
    "leave_process_group": ".handlers",
    "load_weights": ".weights",
    "mirrored": ".weights",
    "on_main_rank": ".handlers",
    "prepare_staged_batch": ".on_device",
    "progress_bar": ".handlers",
    "quick_convolutions": ".on_device",
    "read_state": ".weights",
    "save_weights": ".weights",
    "supervised_trainer": ".handlers",
    "verified": ".weights",
}
__all__ = list(_MODULES)
__getattr__ = lazy_names(__name__, _MODULES)
