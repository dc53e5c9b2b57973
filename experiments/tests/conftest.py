"""The fixtures that the experiments' tests share with those of the package."""

from phantoms import dataset_dir, phantom
from shaken import shaken

__all__ = ["dataset_dir", "phantom", "shaken"]
