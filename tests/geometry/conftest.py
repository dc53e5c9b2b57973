"""A pipeline of stand-ins that know the phantom."""

from stand_ins import pipeline

__all__ = ["pipeline"]
