"""Fixtures of a label map as NIfTI and as an RTSTRUCT."""

from plans import save_map, save_plan, scan

__all__ = ["save_map", "save_plan", "scan"]
