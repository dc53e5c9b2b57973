"""Fixtures of a label map and its scan."""

from plans import save_map, scan

__all__ = ["save_map", "scan"]
