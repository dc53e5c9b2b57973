"""Fixtures that every test may use: the synthetic patient, a data set of it, and a CT series as a scanner sends it."""

from phantoms import ct_slices, dataset_dir, phantom

__all__ = ["ct_slices", "dataset_dir", "phantom"]
