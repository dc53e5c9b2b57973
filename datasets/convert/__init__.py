"""Public data sets, nnU-Net raw folders and clinical exports, converted to what oarseg trains on and scores against.

One module a set lists its cases (:mod:`~oarseg.datasets.convert.pddca` and so on); reading, checking, writing and
resuming are common to all (:mod:`~oarseg.datasets.convert.run`). Layouts, sources and licences: ``docs/datasets.md``.
"""

from oarseg.datasets.convert.run import Conversion, Plan, convert, plan
from oarseg.datasets.convert.sets import SETS

# The name of 0.1.0.
Outcome = Conversion

__all__ = ["SETS", "Conversion", "Outcome", "Plan", "convert", "plan"]
