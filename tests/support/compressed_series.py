"""CT series with compressed pixels."""

from __future__ import annotations

from typing import Any

import pytest
from pydicom.uid import UID


def compressed(series: Any, syntax: str, plugin: str) -> Any:
    """``series`` of the fixture ``ct``, its slices encoded by pydicom's ``plugin``; skips with pydicom 2."""
    pytest.importorskip("pydicom.pixels", reason="pydicom 2 does not compress")
    for item in series.slices:
        item.compress(UID(syntax), encoding_plugin=plugin, generate_instance_uid=False)
    return series
