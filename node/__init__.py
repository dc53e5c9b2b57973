"""A DICOM node: CTs come in by C-STORE, contours go out by C-STORE. Through pynetdicom."""

from typing import TYPE_CHECKING

from oarseg.lazy import lazy_names
from oarseg.node.config import Config, read_config

if TYPE_CHECKING:
    from oarseg.node.service import Node

__all__ = ["Config", "Node", "read_config"]

# On first use, so that settings can be read without pynetdicom.
__getattr__ = lazy_names(__name__, {"Node": ".service"})
