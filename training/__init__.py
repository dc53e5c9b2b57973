"""What the bundles' training needs beside MONAI's handlers: resume, a progress bar, statistics and weight files."""

from oarseg.training.handlers import ResumableCheckpoint, progress_bar

__all__ = ["ResumableCheckpoint", "progress_bar"]
