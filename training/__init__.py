"""What the bundles' training needs beside MONAI's handlers: resume, a progress bar, statistics and weight files."""

from oarseg.training.average import UpdateAverage, WeightAverage
from oarseg.training.distributed import leave_process_group
from oarseg.training.handlers import ResumableCheckpoint, on_main_rank, prepare_staged_batch, progress_bar
from oarseg.training.weights import LoadWeights, load_weights, mirrored, read_state, save_weights, verified

__all__ = [
    "LoadWeights",
    "ResumableCheckpoint",
    "UpdateAverage",
    "WeightAverage",
    "leave_process_group",
    "load_weights",
    "mirrored",
    "on_main_rank",
    "prepare_staged_batch",
    "progress_bar",
    "read_state",
    "save_weights",
    "verified",
]
