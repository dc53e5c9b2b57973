"""A small network that has learnt something, and a pipeline of stand-ins that know the phantom."""

from stand_ins import pipeline, trained, two_organs

__all__ = ["pipeline", "trained", "two_organs"]
