"""The name that :mod:`oarseg.images.read` had in 0.1.0."""

from oarseg.images.read import CtImage, read_image

__all__ = ["CtImage", "read_image"]
