"""Many CTs: found, contoured by workers that load the networks once, resumed, and summed up. Through Ray."""

from oarseg.cohort.cases import Case, find_cases
from oarseg.cohort.run import Options, Outcome, run_cohort

__all__ = ["Case", "Options", "Outcome", "find_cases", "run_cohort"]
