"""CT series with compressed pixels."""

from __future__ import annotations

from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID


def compressed(series: Any, syntax: str, plugin: str) -> Any:
    """``series`` of the fixture ``ct``, its slices encoded by pydicom's ``plugin``; skips with pydicom 2."""
    pytest.importorskip("pydicom.pixels", reason="pydicom 2 does not compress")
    for item in series.slices:
        item.compress(UID(syntax), encoding_plugin=plugin, generate_instance_uid=False)
    return series


def put_image(item: Dataset, syntax: str, stream: bytes) -> None:
    """Let a slice's pixels be one compressed image."""
    item.file_meta.TransferSyntaxUID = UID(syntax)
    item.PixelData = encapsulate([stream])
    item["PixelData"].is_undefined_length, item["PixelData"].VR = True, "OB"
