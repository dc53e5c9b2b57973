"""Fixtures of synthetic CT series and of structure sets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from ct_series import CENTER, MARKER, ORIENTATIONS, PATIENT_NAME, make_series
from plans import save_plan, scan
from pydicom.dataset import Dataset

__all__ = ["save_plan", "scan"]


@pytest.fixture(scope="session")
def ct():
    """``make_series`` with its constants as attributes."""
    make_series.CENTER, make_series.MARKER, make_series.ORIENTATIONS = CENTER, MARKER, ORIENTATIONS
    make_series.PATIENT_NAME = PATIENT_NAME
    return make_series


@pytest.fixture
def edited(tmp_path: Path):
    """Write a series after a change: ``edited(lambda slices: ...)`` gives the folder."""

    def write(change: Callable[[list[Dataset]], object], **kwargs: object) -> Path:
        series = make_series(**kwargs)
        change(series.slices)
        return series.write(tmp_path / "ct")

    return write
