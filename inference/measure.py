"""The name that measuring had in 0.1.0, now in :mod:`oarseg.inference.report.content`."""

from oarseg.inference.report.content import Measure, measure

__all__ = ["Measure", "measure"]
