"""CT series with compressed pixels."""

from __future__ import annotations

from typing import Any

import pytest
from pydicom.uid import UID


def compressed(series: Any, syntax: str, plugin: str) -> Any:
    """``series`` of the fixture ``ct``, its slices encoded by pydicom's ``plugin``; skips where that is missing."""
    try:
        for item in series.slices:
            item.compress(UID(syntax), encoding_plugin=plugin, generate_instance_uid=False)
    except Exception as error:
        pytest.skip(f"this installation cannot encode {UID(syntax).name}: {error}")
    return series
