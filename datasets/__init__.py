"""Datalists and the scripts that make them."""

from oarseg.datasets.datalist import load_datalist

__all__ = ["load_datalist"]
