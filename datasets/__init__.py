"""Datalists and the scripts that make them."""

from oarseg.datasets.datalist import list_images, load_datalist

__all__ = ["list_images", "load_datalist"]
