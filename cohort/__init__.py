"""Many CTs: found, contoured by workers that load the networks once, resumed, and summed up. Through Ray."""

from oarseg.cohort.cases import CohortCase, find_cases
from oarseg.cohort.remote import RemoteCase, find_remote_cases, source_of
from oarseg.cohort.run import CohortOutcome, Options, run_cohort

# The public names, without the room's.
Case = CohortCase
Outcome = CohortOutcome

__all__ = [
    "Case", "Options", "Outcome", "RemoteCase", "find_cases", "find_remote_cases", "run_cohort", "source_of",
]  # fmt: skip
