"""Fixtures of the cohort's tests."""

from shared_ray import shared_ray

__all__ = ["shared_ray"]
