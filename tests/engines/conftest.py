"""A small network that has learnt something."""

from stand_ins import trained, two_organs

__all__ = ["trained", "two_organs"]
