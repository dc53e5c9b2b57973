"""Datalists and the scripts that make them."""

from oarseg.datasets.datalist import list_images, load_datalist, output_name

__all__ = ["list_images", "load_datalist", "output_name"]
