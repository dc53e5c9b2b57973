"""A DICOM node: CTs come in by C-STORE, contours go out by C-STORE. Through pynetdicom."""

from typing import TYPE_CHECKING, Any

from oarseg.node.config import Config, read_config

if TYPE_CHECKING:
    from oarseg.node.service import Node

__all__ = ["Config", "Node", "read_config"]


def __getattr__(name: str) -> Any:
    """Node on first use: settings can be read without pynetdicom."""
    if name == "Node":
        from oarseg.node.service import Node

        return Node
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
